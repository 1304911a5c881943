"""`posttrade explain`: why. A case goes in; out comes the answer of the services' own rule, with the rows behind it.

One module for each kind of question (`KINDS` in `registry.py`): it reads the case into the inputs of a rule, calls the
rule, and says what the rule said. It computes nothing: what a rule does not tell, the rule is made to tell.
"""
