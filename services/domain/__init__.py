"""The language of the back office: records, money, identities, dates and refusals.

Standard library and msgspec only. Nothing here reads a clock, a file, a network or a random number.
"""
