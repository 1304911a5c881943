"""The programs that are measured, one file each, written as a good user of each library would.

Each is started as `python -m tests.bench.peers.NAME MEASURE SERVERS PREFIX` and killed when the last record has
arrived. Topics, group and transactional id begin with the prefix. What a measure reads and writes:

    pass-through   in -> out, bytes as they are
    avro           front-office.executions -> out, decoded into our records and encoded again
    enrichment     trades.captured -> trades.enriched
    pipeline       front-office.executions, counterparty.confirmations -> settlement.messages, with all between

Everywhere: values compressed with lz4, 5 ms of linger where the client has it, reference data read once at the start.
"""
