"""The steps of one transaction, and what each answer of the producer makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.engine.log import (
    DISCONNECTED,
    SLOW,
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    LogError,
    OutgoingRecord,
    TopicPartition,
    Unavailable,
)
from services.engine.outage import NotAwaited, Patience
from services.engine.runtime import SystemRuntime
from services.engine.transaction import (
    ECHO_SECONDS_MAX,
    EXPIRED,
    IDLE,
    IDLE_SECONDS_MAX,
    REFUSED,
    UNKNOWN,
    GroupOffsets,
    InDoubt,
    NotCommitted,
    Transactions,
)

RECORDS = [OutgoingRecord("out", b"k", b"v")]
STEPS = ["begin", "produce", "send_offsets", "commit"]
TAKE_OVER = ["close", "producer slot"]
TIMEOUT_SECONDS = 10.0


class Clock(SystemRuntime):
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ScriptedLog:
    """Gives producers that note each call, and raise what the script says for a step, once."""

    def __init__(self, clock: Clock, **script: LogError) -> None:
        self.clock = clock
        self.script: dict[str, LogError] = script
        self.slow: dict[str, float] = {}
        """Seconds a step takes."""
        self.doubts: list[str | None] = []
        """What the next producers say of themselves after their first commit."""
        self.doubts_at_once: str | None = None
        """What a producer says of itself as soon as a call has raised."""
        self.refusals: list[LogError] = []
        """What asking for a producer is answered with, before there is one."""
        self.calls: list[str] = []

    def producer(self, transactional_id: str) -> ScriptedProducer:
        self.calls.append(f"producer {transactional_id}")
        if self.refusals:
            raise self.refusals.pop(0)
        return ScriptedProducer(self)


class ScriptedProducer:
    transaction_timeout_seconds = TIMEOUT_SECONDS

    def __init__(self, log: ScriptedLog) -> None:
        self._log = log
        self.doubt: str | None = None

    def __getattr__(self, step: str) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            self._log.calls.append(step)
            self._log.clock.now += self._log.slow.get(step, 0.0)
            error = self._log.script.pop(step, None)
            if error is not None:
                self.doubt = self._log.doubts_at_once
                raise error
            if step == "commit" and self._log.doubts:
                self.doubt = self._log.doubts.pop(0)

        return call


class Slot:
    """A slot on a scripted log, with its clock and the reasons for which its producer was replaced."""

    def __init__(self, **script: LogError) -> None:
        self.clock = Clock()
        self.log = ScriptedLog(self.clock, **script)
        self.reasons: list[str] = []
        self.stopping = False
        self.transactions = Transactions(
            self.log,  # type: ignore[arg-type]  # scripted
            "slot",
            runtime=self.clock,
            patience=Patience(self.clock, lambda: self.stopping),
            note_recreation=self.reasons.append,
        )
        self.log.calls.clear()

    def commit(self, groups: int = 1) -> None:
        metadata: GroupMetadata = object()  # opaque
        self.transactions.commit(RECORDS, [GroupOffsets({TopicPartition("in", n): n}, metadata) for n in range(groups)])


def test_the_steps_come_in_order_and_offsets_of_every_group_are_sent() -> None:
    """Outputs before offsets before the commit; one transaction for all groups."""
    slot = Slot()
    slot.commit(groups=3)
    assert slot.log.calls == ["begin", "produce", "send_offsets", "send_offsets", "send_offsets", "commit"]
    assert slot.reasons == []


@pytest.mark.parametrize("step", STEPS)
def test_a_refused_step_is_aborted_and_the_next_transaction_has_a_new_producer(step: str) -> None:
    """Certainly not committed; but a request of a call that raised may still be on its way, for the next to suffer."""
    slot = Slot(**{step: AbortRequired("refused")})
    with pytest.raises(NotCommitted, match="refused"):
        slot.commit()
    assert slot.log.calls == [*STEPS[: STEPS.index(step) + 1], "abort"]
    slot.log.calls.clear()
    slot.commit()
    assert slot.log.calls == [*TAKE_OVER, *STEPS]
    assert slot.reasons == [REFUSED]


@pytest.mark.parametrize("error", [CommitUnknown("timed out"), Unavailable("timed out")])
@pytest.mark.parametrize("step", STEPS)
def test_doubt_replaces_the_producer_before_anybody_asks_the_log(step: str, error: LogError) -> None:
    """The new one fences whatever of the old is still on its way; only then is an answer final."""
    slot = Slot(**{step: error})
    with pytest.raises(InDoubt, match="timed out"):
        slot.commit()
    assert slot.log.calls == [*STEPS[: STEPS.index(step) + 1], *TAKE_OVER]
    slot.log.calls.clear()
    slot.commit()
    assert slot.log.calls == STEPS
    assert slot.reasons == [UNKNOWN]


@pytest.mark.parametrize("error", [AbortRequired("again"), CommitUnknown("abort lost")])
def test_an_abort_that_fails_is_doubt(error: LogError) -> None:
    """It is not known whether anything of the transaction is still there."""
    slot = Slot(commit=AbortRequired("refused"), abort=error)
    with pytest.raises(InDoubt):
        slot.commit()
    assert slot.log.calls[-3:] == ["abort", *TAKE_OVER]


@pytest.mark.parametrize("doubt", [SLOW, DISCONNECTED])
def test_nothing_is_begun_with_a_producer_that_doubts_itself(doubt: str) -> None:
    """The commit is certain, so nothing is rebuilt; a repetition of it that arrives late would end the next one."""
    slot = Slot()
    slot.log.doubts = [doubt]
    slot.commit()
    slot.log.calls.clear()
    slot.commit()
    assert slot.log.calls == [*TAKE_OVER, *STEPS]
    slot.log.calls.clear()
    slot.commit()
    assert slot.log.calls == STEPS
    assert slot.reasons == [doubt]


@pytest.mark.parametrize("step", [*STEPS, "abort"])
def test_being_fenced_in_time_ends_the_worker(step: str) -> None:
    """Nothing but a newer worker of this slot can have done it; a retry would fence that one."""
    script: dict[str, LogError] = {step: Fenced("newer")}
    if step == "abort":
        script["commit"] = AbortRequired("refused")
    slot = Slot(**script)
    slot.log.slow = {"begin": TIMEOUT_SECONDS - 0.01}
    with pytest.raises(Fenced):
        slot.commit()
    assert "producer slot" not in slot.log.calls


@pytest.mark.parametrize("step", [*STEPS, "abort"])
def test_being_fenced_after_the_transaction_timeout_is_doubt(step: str) -> None:
    """The log aborts what was open for too long and answers the same; a paused worker must not end for good."""
    script: dict[str, LogError] = {step: Fenced("expired, or newer")}
    if step == "abort":
        script["commit"] = AbortRequired("refused")
    slot = Slot(**script)
    slot.log.slow = {"begin": TIMEOUT_SECONDS}
    with pytest.raises(InDoubt):
        slot.commit()
    assert slot.log.calls[-2:] == TAKE_OVER
    assert slot.reasons == [EXPIRED]


def test_being_fenced_in_time_is_doubt_when_the_producer_has_one() -> None:
    """A late request of an earlier transaction may have opened one behind our back, which then expired."""
    slot = Slot(commit=Fenced("expired, or newer"))
    slot.log.doubts_at_once = DISCONNECTED
    with pytest.raises(InDoubt):
        slot.commit()
    assert slot.log.calls[-2:] == TAKE_OVER
    assert slot.reasons == [EXPIRED]


def test_a_producer_that_was_idle_for_long_is_replaced() -> None:
    """From a minute on the client is silent about a connection that is closed, and for a while about the next one."""
    slot = Slot()
    slot.clock.now += IDLE_SECONDS_MAX - 1
    slot.commit()
    slot.clock.now += IDLE_SECONDS_MAX - 1
    slot.commit()
    assert slot.reasons == []
    slot.clock.now += IDLE_SECONDS_MAX
    slot.commit()
    assert slot.reasons == [IDLE]


def test_a_request_of_an_earlier_try_that_comes_late_does_not_end_the_worker() -> None:
    """Seen after kills of a busy broker: the identity was ours at the fifth try, and the fourth fenced it."""
    slot = Slot(commit=CommitUnknown("no answer"))
    slot.log.refusals = [Unavailable("no coordinator"), Unavailable("no coordinator")]
    with pytest.raises(InDoubt):
        slot.commit()
    slot.log.script = {"send_offsets": Fenced("newer: our own fourth try")}
    with pytest.raises(InDoubt):
        slot.commit()
    slot.commit()
    assert slot.reasons == [UNKNOWN, EXPIRED]
    slot.log.script = {"send_offsets": Fenced("newer")}
    with pytest.raises(Fenced):  # this identity was given at once: whoever fences it is another worker
        slot.commit()


def test_an_echo_is_not_believed_in_for_long() -> None:
    """Else a slot that was given to two workers would go to and fro."""
    slot = Slot(commit=CommitUnknown("no answer"))
    slot.log.refusals = [Unavailable("no coordinator")]
    with pytest.raises(InDoubt):
        slot.commit()
    slot.clock.now += IDLE_SECONDS_MAX / 2
    slot.commit()
    slot.clock.now += ECHO_SECONDS_MAX / 2
    slot.log.script = {"commit": Fenced("newer")}
    with pytest.raises(Fenced):
        slot.commit()


@pytest.mark.parametrize("error", [AbortRequired("x"), CommitUnknown("x"), Fenced("x")])
def test_a_producer_in_doubt_may_refuse_to_close(error: LogError) -> None:
    """It is thrown away in any case."""
    slot = Slot(commit=CommitUnknown("timed out"), close=error)
    with pytest.raises(InDoubt):
        slot.commit()
    assert slot.log.calls[-1] == "producer slot"


def test_a_log_that_is_away_is_asked_for_a_producer_until_it_answers() -> None:
    """An outage must not end a worker, however long it lasts."""
    slot = Slot(commit=CommitUnknown("timed out"))
    slot.log.refusals = [Unavailable("no coordinator") for _ in range(200)]
    with pytest.raises(InDoubt, match="timed out"):
        slot.commit()
    assert slot.log.calls.count("producer slot") == 201
    assert slot.log.calls.count("begin") == 1
    assert slot.clock.now > 101.0, "it does not ask without a pause"


def test_a_stop_ends_the_wait_and_the_doubt_stays() -> None:
    """The worker must end within seconds; nothing may be begun with what it leaves behind."""
    slot = Slot(commit=CommitUnknown("timed out"))
    slot.log.refusals = [Unavailable("no coordinator")] * 3
    slot.stopping = True
    for _ in range(2):
        with pytest.raises(NotAwaited):
            slot.commit()
    assert slot.log.calls == [*STEPS, *TAKE_OVER, *TAKE_OVER]


def test_a_stop_still_ends_what_was_left_open_when_the_log_answers() -> None:
    """Another worker would wait for the open transaction's timeout before it can take the partitions over."""
    slot = Slot(commit=CommitUnknown("timed out"))
    slot.stopping = True
    with pytest.raises(InDoubt):
        slot.commit()
    assert slot.log.calls == [*STEPS, *TAKE_OVER]


@pytest.mark.parametrize(
    ("script", "slow", "calls"),
    [
        ({"send_offsets": AbortRequired("not sent")}, {"send_offsets": 9.0}, STEPS[:3]),
        ({"commit": CommitUnknown("timed out")}, {"commit": 10.0}, STEPS),
        (
            {"send_offsets": AbortRequired("not sent"), "abort": CommitUnknown("timed out")},
            {"send_offsets": 4.0, "abort": 10.0},
            [*STEPS[:3], "abort"],
        ),
    ],
    ids=["a flush that timed out", "a commit that timed out", "an abort that timed out"],
)
def test_a_stop_leaves_a_transaction_to_the_log_that_soon_ends_it_by_itself(
    script: dict[str, LogError], slow: dict[str, float], calls: list[str]
) -> None:
    """Flush, abort and take-over, each until it times out, would take longer than a stop has."""
    slot = Slot(**script)
    slot.log.slow = slow
    slot.stopping = True
    with pytest.raises(NotAwaited):
        slot.commit()
    assert slot.log.calls == calls
    assert slot.clock.now - 100.0 <= 15.0
    slot.stopping = False
    slot.log.slow.clear()
    slot.commit()
    assert slot.log.calls == [*calls, *TAKE_OVER, *STEPS], "nothing is begun with a producer in doubt"


def test_a_worker_that_goes_on_ends_an_old_transaction_itself() -> None:
    """Only a stop is in a hurry; whoever goes on must know what became of it."""
    slot = Slot(send_offsets=AbortRequired("not sent"))
    slot.log.slow = {"send_offsets": 9.0}
    with pytest.raises(NotCommitted):
        slot.commit()
    assert slot.log.calls == [*STEPS[:3], "abort"]


@pytest.mark.parametrize("step", STEPS)
def test_what_no_repetition_mends_ends_the_worker(step: str) -> None:
    """A right that was taken away, a topic that was deleted: retrying hides it from the people who could mend it."""
    slot = Slot(**{step: LogError("topic authorisation failed")})
    with pytest.raises(LogError, match="authorisation") as raised:
        slot.commit()
    assert type(raised.value) is LogError
    assert slot.reasons == []


def test_two_workers_of_one_slot_come_down_to_one() -> None:
    """A paused worker takes its slot back from its successor; that one had no pause, sees it early and ends."""
    clock = Clock()
    log = _EpochLog(clock)
    paused, successor = (Transactions(log, "slot", runtime=clock) for _ in range(2))  # type: ignore[arg-type]
    log.seconds = TIMEOUT_SECONDS
    with pytest.raises(InDoubt):
        paused.commit(RECORDS, [])
    log.seconds = 0.0
    with pytest.raises(Fenced):
        successor.commit(RECORDS, [])
    paused.commit(RECORDS, [])
    restarted = Transactions(log, "slot", runtime=clock)  # type: ignore[arg-type]  # by its supervisor
    with pytest.raises(Fenced):
        paused.commit(RECORDS, [])
    restarted.commit(RECORDS, [])
    assert log.committed == [3, 4], "by the producer of the swap, and by the restarted one"


class _EpochLog:
    """Fences all but the newest producer; a commit takes as long as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0
        self.newest = 0
        self.committed: list[int] = []

    def producer(self, _transactional_id: str) -> _EpochProducer:
        self.newest += 1
        return _EpochProducer(self, self.newest)


class _EpochProducer:
    transaction_timeout_seconds = TIMEOUT_SECONDS
    doubt: str | None = None

    def __init__(self, log: _EpochLog, epoch: int) -> None:
        self._log = log
        self._epoch = epoch

    def begin(self) -> None:
        """Known to this process only."""

    def produce(self, _records: object) -> None:
        self._log.clock.now += self._log.seconds

    def commit(self) -> None:
        if self._epoch != self._log.newest:
            raise Fenced("newer")
        self._log.committed.append(self._epoch)

    def close(self) -> None:
        """Nothing is held."""
