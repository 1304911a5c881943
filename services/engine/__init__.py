"""The engine: Faust, made exactly once.

One poll round is one transaction: what the stages publish, what they remember, what could not be read, and how far the
input was read are committed together or not at all. See ARCHITECTURE.md, "How a batch becomes durable".
"""
