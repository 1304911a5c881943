"""`make chaos`: the promise of exactly once, tried on a real broker with real worker processes that are really killed.

    driver ──► Kafka ◄──► workers (1 to 4, each a process)          verifier: reads topics, afterwards
       │          ▲           ▲
       └ journal  └─ faults ──┘   chosen by the seed, one line each in faults.log

- `stream`     what the driver sends: invented trading days, repeated, disordered and poisoned as outside systems do
- `driver`     the process that sends it, and keeps a journal of what was acknowledged
- `clerk`      the process that replays and discards dead letters meanwhile, twice and out of order too
- `worker`     the production worker, with `failpoints` around its log and `poison` around its stages
- `plan`       which faults, how many and in which order: a function of minutes and seed
- `faults`     how each is done
- `fleet`      the worker processes; `events` what they tell while they live
- `verifier`   the process that judges, by `services.verification`
  (the negative controls, faults built into the harness that the verifier has to notice, are in tests/support/sabotage)
- `report`     what is printed, and the summary beside the data
"""
