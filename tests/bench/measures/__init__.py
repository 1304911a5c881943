"""One module for each measure of our own engine, with `measure(context) -> Finding`, and what several of them need.

Each is measured once, whatever the number of rounds: together they take under 20 minutes. Where a ratio or a rate is at
stake, it is the median of several bursts on the same workers.
"""
