"""Everything that follows from a seed: how large the world is, what is sent, and which faults happen how often.

Swarm testing: each seed enables a random subset of the faults with random rates, because a run with every fault at
once seldom gets far enough to meet the rare ones, and some bugs show only where others are absent.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields

CALL_FAULTS = {
    "slow": (-3.0, -1.5),  # a call takes long, before or after its effect
    "unavailable": (-3.0, -1.5),  # a question is not answered
    "disk": (-2.5, -0.5),  # the disk refuses a file
    "freeze": (-4.0, -2.5),  # the process stands still at the call, perhaps longer than its session, and goes on
    "crash": (-4.0, -2.5),  # the process dies at the call
    "zombie": (-2.0, -0.7),  # the process stands still with a batch in hand, until its session is over, and goes on
    "abort": (-2.5, -1.0),  # a step of the transaction is refused: it must be aborted
    "doubt": (-2.5, -1.0),  # a step fails without saying what became of it
    "commit lost": (-2.0, -0.7),  # the request never arrives
    "commit unanswered": (-2.0, -0.7),  # it arrives, the answer does not
    "commit late": (-2.0, -0.7),  # it arrives long after the client has given up
    "commit repeated": (-2.0, -0.7),  # it is answered, slowly, and a repetition of it is still on its way
}
"""Faults that befall a call, each with the decimal logarithms between which its rate per call is drawn."""

EVENT_FAULTS = (
    "kill",  # a process dies between two calls
    "pause",  # a process stands still, and then goes on as if nothing had been
    "usurp",  # as a pause, but meanwhile somebody starts another process for the same slot
    "outage",  # the log is away
    "evict",  # a worker's heartbeats are lost, and its partitions move while it works
    "join",  # one more worker comes
    "leave",  # a worker is stopped in order
    "amnesia",  # the group coordinator forgets members and offsets of some groups for a while, and does not say so
)
"""Faults that come at a moment, each with a number of times."""

_ENABLED = 0.35
"""Chance of each fault to be enabled in a seed."""


@dataclass(frozen=True)
class Options:
    """What a seed comes to."""

    seed: int
    workers: int = 2
    partitions: int = 2
    flows: int = 6
    work_seconds: float = 5.0
    """In this time everything is sent and every fault happens."""
    poll_records_max: int = 200
    """Records that one poll brings at most: with few there are many transactions, and one batch waits for another."""
    session_timeout_seconds: float = 3.0
    transaction_timeout_seconds: float = 2.0
    restart_seconds_max: float = 4.0
    """Within this time a supervisor starts a process that has ended anew."""
    overdue_after_seconds: int = 900
    """Age at which blocks and trades that wait become exceptions."""
    yield_rate: float = 0.5
    """Share of the calls that let others run before they go on."""
    stall_rate: float = 0.0
    """Share of the turns that take long."""
    resend_share: float = 0.0
    """Share of the messages that are sent twice or more."""
    reorder_share: float = 0.0
    """Share of the messages that overtake the one before, of the same order."""
    damage_share: float = 0.0
    """Share of the starts that find one of the process's files lost, cut, flipped in a bit, or older than it was."""
    garbage: int = 0
    """Unreadable records under the keys of orders."""
    chokes: int = 0
    """Bugs: each makes a service raise at some keys until it is mended."""
    repairs: int = 0
    """Decisions of clerks about dead letters while the work goes on."""
    tidies: bool = False
    """Whether everything that waits is repaired in the end."""
    call_rates: dict[str, float] = field(default_factory=dict)
    event_counts: dict[str, int] = field(default_factory=dict)
    crash_at_call: int = 0
    """Not 0: the process that makes this call to a port, counted over all, dies there, and nothing else happens."""
    control: str = ""
    """Name of a negative control."""

    def lines(self) -> list[str]:
        """All options, one in a line, for whoever reads a report."""
        return [f"{name} = {value!r}" for name, value in asdict(self).items()]


def derive(seed: int, *, control: str = "") -> Options:
    """Draw the options of a seed."""
    rng = random.Random(f"options {seed}")
    chance = rng.random
    call_rates = {
        name: round(10 ** rng.uniform(low, high), 5) for name, (low, high) in CALL_FAULTS.items() if chance() < _ENABLED
    }
    return Options(
        seed=seed,
        workers=rng.choice((1, 2, 2, 3)),
        partitions=rng.choice((1, 2, 2, 3)),
        flows=rng.choice((2, 4, 6, 8)),
        work_seconds=rng.choice((3.0, 6.0, 9.0)),
        transaction_timeout_seconds=rng.choice((2.0, 2.0, 2.9)),
        poll_records_max=rng.choice((2, 5, 200)),
        overdue_after_seconds=rng.choice((5, 900, 900)),
        yield_rate=rng.choice((0.0, 0.3, 0.8)),
        stall_rate=rng.choice((0.0, 0.0, 0.01)),
        resend_share=rng.choice((0.0, 0.1, 0.3)),
        reorder_share=rng.choice((0.0, 0.0, 0.2)),
        damage_share=rng.choice((0.0, 0.0, 0.7)),
        garbage=rng.choice((0, 0, 1, 3)),
        call_rates=call_rates,
        event_counts={name: rng.choice((1, 2, 4)) for name in EVENT_FAULTS if chance() < _ENABLED},
        chokes=rng.choice((0, 1, 3)),
        repairs=rng.choice((0, 6, 15)),
        tidies=rng.choice((False, True)),
        control=control,
    )


def override(options: Options, **changes: object) -> Options:
    """The same with some of them changed."""
    values = {item.name: getattr(options, item.name) for item in fields(options)}
    return Options(**(values | changes))
