"""The command `posttrade`: one module for each command, and what they share.

Shared: `failure` (one line and an exit code), `cluster` (log, codec and topics a command works on), `scan` (topics read
to their end), `shown` (a record as people read it), `text` (tables). Nothing here decides anything about trades.
"""
