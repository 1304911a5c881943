"""The memory log with what Kafka adds: time limits, a coordinator that gives up, and requests that come late.

- A member whose process is silent for the session timeout is taken out of its group.
- A transaction that is open for longer than its timeout is aborted, and the producer's epoch is raised.
- A request to end a transaction may come long after its client has gone on. As with every client that does not speak
  the newer protocol, the epoch alone tells it from a request for the transaction that is open now: with the same epoch
  it ends that one.
- While it is away, nothing is answered.
- Its group coordinator may forget its groups for a while (`amnesia.py`), and not say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.adapters.memory_log import MemoryGroupConsumer, MemoryLog, MemoryTransactionalProducer
from services.engine.log import GroupMetadata, LogRecord, OutgoingRecord, RebalanceListener, TopicPartition
from services.engine.runtime import Runtime
from tests.sim.amnesia import Amnesia
from tests.sim.scheduler import Owner, Scheduler, SimCondition


class Broker(MemoryLog):
    """One log for all workers of a run."""

    def __init__(
        self,
        topics: Mapping[str, int],
        *,
        clock: Runtime,
        scheduler: Scheduler,
        session_timeout_seconds: float,
        transaction_timeout_seconds: float,
        amnesia: Amnesia,
    ) -> None:
        super().__init__(topics, clock=clock, changed=SimCondition(scheduler))
        self._id = "simulated"
        self.away = False
        self.reads_uncommitted = False
        self.session_timeout_seconds = session_timeout_seconds
        self.transaction_timeout_seconds = transaction_timeout_seconds
        self.amnesia = amnesia
        self.counts = {"evictions": 0, "transaction timeouts": 0, "late requests refused": 0, "late requests obeyed": 0}
        self._scheduler = scheduler
        self._owned: dict[Owner, list[MemoryGroupConsumer]] = {}
        self._late: dict[str, list[Callable[[], None]]] = {}

    # --- sessions

    def join(self, owner: Owner, group: str, topics: Sequence[str], listener: RebalanceListener) -> MemoryGroupConsumer:
        """Join a group for a process."""
        consumer = self.consumer(group, topics, listener)
        self._owned.setdefault(owner, []).append(consumer)
        return consumer

    def silent(self, owner: Owner) -> None:
        """A process sends no heartbeats any more; unless it does again in time, its members are evicted."""

        def expire() -> None:
            if not (owner.dead or owner.paused):
                return
            for consumer in self._owned.get(owner, []):
                self.counts["evictions"] += 1
                consumer.evict()

        self._scheduler.after(self.session_timeout_seconds, expire)

    def evict(self, owner: Owner, chance: Callable[[], bool]) -> None:
        """Heartbeats of a process were lost on their way: some of its members are taken for dead while it works."""
        for consumer in self._owned.get(owner, []):
            if chance():
                self.counts["evictions"] += 1
                consumer.evict()

    def forget(self, group: str, seconds: float) -> None:
        """The coordinator forgets a group: its members have to join anew, its offsets come back bit by bit."""
        state = self._groups.get(group)
        if state is None:
            return
        reading = self.amnesia.begin(group)
        for consumer in list(state.members):
            consumer.evict()
        self._scheduler.after(self.amnesia.rng.uniform(0.0, seconds), lambda: self.amnesia.read_on(group, reading))
        self._scheduler.after(seconds, lambda: self.amnesia.end(group, reading))

    # --- transactions

    def producer(self, transactional_id: str) -> TimedProducer:
        """Take over an identity."""
        with self._changed:
            predecessor = self._open_producers.get(transactional_id)
            if predecessor is not None:
                predecessor.drop()
            self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
            producer = TimedProducer(self, transactional_id, self._epochs[transactional_id])
            self._open_producers[transactional_id] = producer
            return producer

    def watch(self, producer: TimedProducer, transaction: int) -> None:
        """Give up a transaction that is open for too long: abort it, and let its client never go on unnoticed."""

        def expire() -> None:
            if producer.transaction == transaction:
                self.counts["transaction timeouts"] += 1
                producer.drop()
                self._epochs[producer.transactional_id] += 1

        self._scheduler.after(self.transaction_timeout_seconds, expire)

    def end_late(self, producer: TimedProducer, *, commit: bool, seconds: float) -> None:
        """A request to end a transaction arrives after a while, or at a call of `late_arrivals` before that."""

        def arrive() -> None:
            if arrive not in self._late.get(producer.transactional_id, []):
                return
            self._late[producer.transactional_id].remove(arrive)
            if producer.epoch != self.epoch(producer.transactional_id) or producer.transaction is None:
                self.counts["late requests refused"] += 1
            else:
                self.counts["late requests obeyed"] += 1
                (producer.commit if commit else producer.abort)()

        self._late.setdefault(producer.transactional_id, []).append(arrive)
        self._scheduler.after(seconds, arrive)

    def late_arrivals(self, transactional_id: str) -> list[Callable[[], None]]:
        """Requests of a producer that are still on their way; calling one lets it arrive now."""
        return list(self._late.get(transactional_id, []))

    # --- reading

    def fetch(self, key: TopicPartition, position: int, records_max: int) -> tuple[list[LogRecord], int]:
        """Committed records; all of them, when a control says so."""
        if not self.reads_uncommitted:
            return super().fetch(key, position, records_max)
        records = self._partitions_of(key.topic)[key.partition].records[position : position + records_max]
        return records, position + len(records)

    def read_uncommitted(self) -> None:
        """From now on everybody sees records of open and aborted transactions, but for `committed_records`."""
        self.reads_uncommitted = True

    def committed_records(self, topic: str) -> list[LogRecord]:
        """What is committed, by partition and offset; for the audit."""
        found: list[LogRecord] = []
        for number in range(self.partitions(topic)):
            found += super().fetch(TopicPartition(topic, number), 0, 10_000_000)[0]
        return found

    def committed_offsets(self, group: str) -> dict[TopicPartition, int]:
        """What the group has committed; for the audit."""
        state = self._groups.get(group)
        return dict(state.committed) if state else {}

    def ends(self, topic: str, *, committed_only: bool) -> dict[TopicPartition, int]:
        """End of each partition of a topic."""
        places = [TopicPartition(topic, number) for number in range(self.partitions(topic))]
        return self.end_offsets(places, committed_only=committed_only)

    def remaining(self, group: str, topics: Sequence[str]) -> int:
        """Committed records that the group has not yet read."""
        committed = self.committed_offsets(group)
        count = 0
        for topic in topics:
            for number, partition in enumerate(self._topics[topic]):
                start = committed.get(TopicPartition(topic, number), 0)
                for record in partition.records[start:]:
                    count += record.offset not in partition.aborted
        return count

    @property
    def is_open(self) -> bool:
        """Whether any transaction is open."""
        return any(partition.open_from for partitions in self._topics.values() for partition in partitions)

    def topics(self) -> list[str]:
        """Every topic."""
        return list(self._topics)


class TimedProducer(MemoryTransactionalProducer):
    """A producer whose transactions do not stay open for ever."""

    def __init__(self, log: Broker, transactional_id: str, epoch: int) -> None:
        super().__init__(log, transactional_id, epoch)
        self.transactional_id = transactional_id
        self.epoch = epoch
        self._broker = log

    def commit(self) -> None:
        """Make everything visible at once."""
        offsets = list(self._offsets)
        super().commit()
        for group, places in offsets:
            self._broker.amnesia.committed(group, places)

    @property
    def transaction(self) -> int | None:
        """Number of the open transaction."""
        return self._transaction

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """The coordinator's clock starts when it first hears of the transaction."""
        starts = self._transaction is not None and not self._written and not self._offsets
        super().produce(records)
        if starts and self._transaction is not None:
            self._broker.watch(self, self._transaction)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """As `produce`."""
        starts = self._transaction is not None and not self._written and not self._offsets
        super().send_offsets(offsets, metadata)
        if starts and self._transaction is not None:
            self._broker.watch(self, self._transaction)
