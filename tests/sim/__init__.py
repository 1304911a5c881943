"""The deterministic simulation: whole workers on a log in memory, a clock that jumps, and faults drawn from a seed.

One operating-system thread runs everything: the event loops of the workers are our own (`loop.py`), their threads are
greenlets (`scheduler.py`), and a seeded generator says which of them runs next and which call fails how. So the same
seed is the same run, byte for byte, and what it finds can be looked at as often as one likes.

- `options.py`   everything that follows from a seed, and which fault is enabled how often (swarm testing)
- `broker.py`    the memory log with what Kafka adds: sessions, transaction timeouts, requests that come late
- `amnesia.py`   a group coordinator that has forgotten and does not say so
- `choking.py`   stages that raise at some keys until they are mended
- `clerks.py`    people who replay and discard dead letters, not always in agreement
- `ports.py`     what a worker sees of the log and of its disk: each call may be slow, fail, or be the worker's last
- `process.py`   one worker: starting, pausing, crashing
- `workload.py`  what the senders send: flows of the sample day, repeated and reordered, poison included
- `run.py`       one seed: faults and work together, then peace until all is drained, then the audit
- `judge.py`     the audit: services/verification, and what the flows promise
- `quick.py`     the same with two small services whose outputs are recomputed, for crashes at every call

`make sim` runs seeds until it is stopped, `make sim SEED=n` repeats one with its trace.
"""
