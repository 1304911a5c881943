"""What a worker sees of the log and of its disk. Every call may take long, fail, or be the last of its process.

A call of a dead process has no effect and raises `Crashed`. A call that may fail does so as its contract says, without
or after its effect. Calls are counted, so that a run can be repeated with a crash at each of them in turn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from services.engine.local_files import LocalFilesError
from services.engine.log import (
    SLOW,
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    LogRecord,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
    Unavailable,
)
from tests.sim.broker import Broker, TimedProducer
from tests.sim.options import Options
from tests.sim.scheduler import Actor, Crashed, Scheduler

T = TypeVar("T")

_LATE_NOW = 0.3
"""Chance that a late request arrives at the next call."""

_LOCAL = frozenset({"consumer", "metadata", "positions", "at_end", "seek", "resume", "close"})
"""Calls that never ask the log, or do not wait for its answer."""


class Ports:
    """The faults of one run, and its trace."""

    def __init__(self, options: Options, scheduler: Scheduler, broker: Broker, rng: random.Random) -> None:
        self.broker = broker
        self.scheduler = scheduler
        self.enabled = True
        """False once there is peace."""
        self.calls = 0
        self.deaths = 0
        """Processes that died, and `endings`, since the run last looked."""
        self.endings = 0
        self.injected: Counter[str] = Counter()
        self.trace: list[str] = []
        self.poll_records_max = options.poll_records_max
        self._rates = options.call_rates
        self._yield_rate = options.yield_rate
        self._crash_at = options.crash_at_call
        self._random = rng.random

    def note(self, who: str, what: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.scheduler.now:9.4f} {who:<9} {what}")

    def strikes(self, fault: str) -> bool:
        """Whether a fault happens now."""
        rate = self._rates.get(fault)
        if rate is None or not self.enabled or self._random() >= rate:
            return False
        self.injected[fault] += 1
        return True

    def answers(self) -> bool:
        """Whether the log is there, for a call that waits for it a little."""
        if self.broker.away:
            self.scheduler.park(self.seconds(0.5, 2.0))
        return not self.broker.away

    def seconds(self, low: float, high: float) -> float:
        """A duration."""
        return low + self._random() * (high - low)

    def point(self, process: Process, name: str) -> None:
        """A moment before or after an effect: the process may end here."""
        if process.dead:
            raise Crashed
        self.calls += 1
        is_chosen = self.calls == self._crash_at
        if is_chosen or self.strikes("crash"):
            self.injected["crash"] += is_chosen
            self.note(process.name, f"CRASH at {name} (call {self.calls})")
            process.die()
            raise Crashed
        if self.scheduler.current is None:
            return
        if self.strikes("freeze"):
            process.freeze()
            self.scheduler.give_way()
        elif self._random() < self._yield_rate:
            self.scheduler.give_way()


class Process:
    """What the ports know of a process."""

    name: str
    dead: bool
    paused: bool
    held: list[Actor]

    def die(self) -> None:
        """Be dead from now on."""
        raise NotImplementedError

    def freeze(self, seconds: float | None = None) -> None:
        """Stand still for a while, beginning with the next turn."""
        raise NotImplementedError


class Port:
    """Calls of one process to one thing; those without a method of their own are passed on with the usual faults."""

    def __init__(self, ports: Ports, process: Process, inner: Any, label: str) -> None:
        self._ports = ports
        self._process = process
        self._inner = inner
        self._label = label

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not callable(attribute):
            return attribute
        return lambda *args, **kwargs: self._call(name, lambda: attribute(*args, **kwargs))

    def _call(self, name: str, effect: Callable[[], T]) -> T:
        """A call with the usual faults: it may be slow, unanswered, or the last."""
        ports, process = self._ports, self._process
        label = f"{self._label}.{name}"
        ports.point(process, f"before {label}")
        if ports.scheduler.current is not None and name not in _LOCAL:
            self._delay(label)
            self._answer(label)
        result = effect()
        ports.point(process, f"after {label}")
        if ports.scheduler.current is not None:
            self._delay(label)
        return result

    def _die_if_dead(self) -> None:
        """A process may have died while a call of it waited."""
        if self._process.dead:
            raise Crashed

    def _delay(self, label: str) -> None:
        if self._ports.strikes("slow"):
            seconds = self._ports.seconds(0.01, 1.0)
            self._ports.note(self._process.name, f"{label} is slow: {seconds:.3f} s")
            self._ports.scheduler.park(seconds)

    def _answer(self, label: str) -> None:
        """Raises Unavailable when the log does not answer."""
        if self._ports.answers() and not self._ports.strikes("unavailable"):
            return
        self._ports.note(self._process.name, f"{label} is not answered")
        raise Unavailable("the log does not answer")


class WorkerLog(Port):
    """The log of one worker."""

    def __init__(self, ports: Ports, process: Process) -> None:
        super().__init__(ports, process, ports.broker, "log")

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> WorkerConsumer:
        broker = self._ports.broker
        inner = self._call("consumer", lambda: broker.join(self._process, group, topics, listener))
        return WorkerConsumer(self._ports, self._process, inner, group)

    def producer(self, transactional_id: str) -> WorkerProducer:
        inner = self._call("producer", lambda: self._ports.broker.producer(transactional_id))
        self._ports.note(self._process.name, f"producer {transactional_id} epoch {inner.epoch}")
        return WorkerProducer(self._ports, self._process, inner)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> WorkerReader:
        inner = self._call("reader", lambda: self._ports.broker.reader(offsets))
        return WorkerReader(self._ports, self._process, inner, "reader")

    def read_uncommitted(self) -> None:
        """For a control: the setting is the client's, and all clients of a run have the same."""
        self._ports.broker.read_uncommitted()


class WorkerConsumer(Port):
    """A member of a group."""

    def __init__(self, ports: Ports, process: Process, inner: Any, group: str) -> None:
        super().__init__(ports, process, inner, group)
        self.group = group

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """A log that is away looks like one without records."""
        ports = self._ports
        self._die_if_dead()
        if ports.broker.away:
            ports.scheduler.park(timeout_seconds)
            return []
        records: list[LogRecord] = self._inner.poll(min(records_max, ports.poll_records_max), timeout_seconds)
        self._die_if_dead()
        if records:
            places = ", ".join(f"{r.topic}/{r.partition}/{r.offset}" for r in (records[0], records[-1]))
            ports.note(self._process.name, f"{self.group} polled {len(records)}: {places}")
            ports.point(self._process, f"after {self.group}.poll")
        self._delay(f"{self.group}.poll")
        return records

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """What the coordinator says, which may be less than it knows a moment later."""
        wanted = list(partitions)

        def ask() -> dict[TopicPartition, int | None]:
            told = self._ports.broker.amnesia.told(self.group, wanted)
            truth: dict[TopicPartition, int | None] = self._inner.committed(wanted) if told is None else told
            return truth

        return self._call("committed", ask)

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        places = ", ".join(f"{p.topic}/{p.partition}→{offset}" for p, offset in offsets.items())
        self._ports.note(self._process.name, f"{self.group} seeks {places}")
        self._call("seek", lambda: self._inner.seek(offsets))


class WorkerReader(Port):
    """A reader outside any group."""

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """A log that is away looks like one without records."""
        self._die_if_dead()
        if self._ports.broker.away:
            self._ports.scheduler.park(timeout_seconds)
            return []
        records: list[LogRecord] = self._inner.poll(records_max, timeout_seconds)
        self._die_if_dead()
        if records:
            self._ports.point(self._process, "after reader.poll")
        return records


class WorkerProducer(Port):
    """A transactional producer whose requests may be lost, late or repeated."""

    def __init__(self, ports: Ports, process: Process, inner: TimedProducer) -> None:
        super().__init__(ports, process, inner, "producer")
        self.transaction_timeout_seconds = ports.broker.transaction_timeout_seconds
        self.doubt: str | None = None
        self._timed: TimedProducer = inner

    def begin(self) -> None:
        if self._ports.strikes("zombie"):
            self._process.freeze(self._ports.seconds(1.0, 2.0) * self._ports.broker.session_timeout_seconds)
            self._ports.scheduler.give_way()
        self._step("begin", self._timed.begin)

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        counts = Counter(record.topic for record in records)
        self._ports.note(self._process.name, f"produces {dict(sorted(counts.items()))}")
        self._step("produce", lambda: self._timed.produce(records))

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        places = ", ".join(f"{p.topic}/{p.partition}→{offset}" for p, offset in offsets.items())
        self._ports.note(self._process.name, f"sends offsets {places}")
        self._step("send_offsets", lambda: self._timed.send_offsets(offsets, metadata))

    def abort(self) -> None:
        self._step("abort", self._timed.abort)

    def close(self) -> None:
        self._die_if_dead()

    def commit(self) -> None:
        ports = self._ports
        if ports.strikes("commit lost"):
            self._give_up("commit lost")
        if ports.strikes("commit late"):
            ports.broker.end_late(self._timed, commit=True, seconds=ports.seconds(0.0, 3.0))
            self._give_up("commit late")
        if ports.strikes("commit unanswered"):
            self._step("commit", self._timed.commit)
            self._give_up("commit unanswered")
        if ports.strikes("commit repeated"):
            self._step("commit", self._timed.commit)
            ports.broker.end_late(self._timed, commit=True, seconds=ports.seconds(0.0, 2.0))
            self.doubt = SLOW
            ports.note(self._process.name, "commit was slow and repeated")
            return
        self._step("commit", self._timed.commit)

    def _give_up(self, fault: str) -> None:
        self._ports.note(self._process.name, fault)
        self._ports.scheduler.park(self._ports.seconds(0.1, 1.0))
        raise CommitUnknown(f"injected: {fault}")

    def _step(self, name: str, effect: Callable[[], None]) -> None:
        ports, process = self._ports, self._process
        ports.point(process, f"before {name}")
        if name != "begin":
            self._delay(name)
            if not ports.answers():
                raise CommitUnknown("the log does not answer")
        if name != "abort" and ports.strikes("abort"):
            ports.note(process.name, f"{name} is refused")
            raise AbortRequired(f"injected at {name}")
        if ports.strikes("doubt"):
            ports.note(process.name, f"{name} fails without saying how")
            raise CommitUnknown(f"injected at {name}")
        for arrive in ports.broker.late_arrivals(self._timed.transactional_id):
            if ports.seconds(0.0, 1.0) < _LATE_NOW:  # in the middle of a transaction is where it would do harm
                arrive()
        try:
            effect()
        except Fenced:
            ports.note(process.name, f"{name}: fenced")
            raise
        except (AbortRequired, CommitUnknown) as error:
            ports.note(process.name, f"{name}: {error}")
            raise
        ports.note(process.name, name)
        ports.point(process, f"after {name}")
        self._delay(name)


class SimFiles:
    """The disk of one slot: outlives its processes, though not always whole."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}

    def damage(self, rng: random.Random) -> str:
        """What may have become of one file when a process starts; how it was done, for the trace."""
        if not self.contents:
            return "nothing to damage"
        name = rng.choice(sorted(self.contents))
        data, before = self.contents[name], self._before.get(name, b"")
        kind = rng.choice(("lost", "cut", "flipped", "old"))
        if kind == "lost":
            del self.contents[name]
        elif kind == "cut":
            self.contents[name] = data[: rng.randrange(len(data) + 1)]
        elif kind == "flipped" and data:
            place = rng.randrange(len(data))
            self.contents[name] = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
        else:
            self.contents[name] = before
        return f"file {name}: {kind}"

    def put(self, name: str, data: bytes) -> None:
        """Write a file, and keep what was there for a backup that somebody may play back."""
        self._before[name] = self.contents.get(name, b"")
        self.contents[name] = data


class WorkerFiles(Port):
    """What one process sees of its slot's disk."""

    def __init__(self, ports: Ports, process: Process, disk: SimFiles) -> None:
        super().__init__(ports, process, disk, "files")
        self._disk = disk

    def read(self, name: str) -> bytes | None:
        return self._io("read", lambda: self._disk.contents.get(name))

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        data = b"".join(parts)
        self._io("replace", lambda: self._disk.put(name, data))

    def note(self, name: str, data: bytes) -> None:
        self._io("note", lambda: self._disk.put(name, data))

    def delete(self, name: str) -> None:
        self._io("delete", lambda: self._disk.contents.pop(name, None))

    def names(self) -> list[str]:
        return self._io("names", lambda: sorted(self._disk.contents))

    def _io(self, name: str, effect: Callable[[], T]) -> T:
        self._ports.point(self._process, f"before files.{name}")
        if self._ports.strikes("disk"):
            raise LocalFilesError(f"injected at {name}: no space left on device")
        result = effect()
        self._ports.point(self._process, f"after files.{name}")
        return result
