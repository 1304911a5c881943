"""The transactional producer on Kafka: one identity, and what is known of the outcome of each call."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from services.adapters.kafka_errors import FENCED_CODES, error_text, remedy, unanswered
from services.adapters.kafka_reader import LOGGER
from services.adapters.kafka_timeouts import ANSWER_SECONDS_MAX, Timeouts
from services.engine.log import (
    DISCONNECTED,
    SLOW,
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    OutgoingRecord,
    TopicPartition,
    Unavailable,
)

BUFFER_RECORDS_MAX = 500_000  # of the producer; a round is far smaller
_RUN_RECORDS_MAX = 10_000
ANY_PARTITION = -1  # RD_KAFKA_PARTITION_UA: the key decides
_INFO_LEVEL = 6  # of syslog: librdkafka tells from here on of connections lost with a request under way
_GRACE_SECONDS = 5.0  # beyond the time a call was given

PRODUCER_SETTINGS: dict[str, Any] = {
    "linger.ms": 5,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # as Java clients do, so that our keys and theirs meet on one partition
    "queue.buffering.max.messages": BUFFER_RECORDS_MAX,
    "message.max.bytes": 4_194_304,
}


class ConnectionWatch:
    """Stands where the client expects a logger: notes lost connections, and passes every line on at level debug.

    For good: the client keeps a line back that repeats one of the last half minute.
    """

    def __init__(self) -> None:
        """Nothing was lost yet."""
        self.has_lost = False

    def log(self, _level: int, text: str, *arguments: object) -> None:
        """From the client, while it is polled: facility, name of the client, and the sentence."""
        if arguments and arguments[0] in _LOST_FACILITIES:
            self.has_lost = True
        LOGGER.debug(text, *arguments)


_LOST_FACILITIES = frozenset({"FAIL", "REQTMOUT"})
"""librdkafka's words for a connection that broke and for a request that was given up."""


def native(function: Callable[..., object], *arguments: object) -> None:
    """Call the client. Raises what it means.

    It leaves a fatal error pending while it hands its lines to the watch, and Python then blames whatever runs there: a
    SystemError, of which the fatal error is the cause.
    """
    try:
        function(*arguments)
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise


class Caller:
    """One thread for calls that may never return; the process does not wait for it when it ends."""

    def __init__(self) -> None:
        """Start the thread."""
        self._calls: SimpleQueue[tuple[Future[None], Callable[..., object], tuple[object, ...]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="kafka-call", daemon=True).start()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, function, arguments = item
            try:
                native(function, *arguments)
                future.set_result(None)
            except BaseException as error:  # noqa: BLE001  # raised again by `call`
                future.set_exception(error)
            del item, future, function, arguments  # the client must not live on in an idle thread

    def call(self, function: Callable[..., object], arguments: tuple[object, ...], seconds: float) -> None:
        """Wait for the end of a call. Raises what it raises, and TimeoutError, after which nothing may be called."""
        future: Future[None] = Future()
        self._calls.put((future, function, arguments))
        future.result(seconds)

    def close(self) -> None:
        """End the thread, once it is free."""
        self._calls.put(None)


class KafkaTransactionalProducer:
    """A librdkafka transactional producer."""

    def __init__(self, base: Mapping[str, Any], prefix: str, transactional_id: str, timeouts: Timeouts) -> None:
        """Fence older producers of the same id. Raises Unavailable when the coordinator does not answer in seconds."""
        self._prefix = prefix
        self._call_seconds = self.transaction_timeout_seconds = timeouts.transaction_ms / 1000
        self._request_seconds = timeouts.request_ms / 1000
        self._watch = ConnectionWatch()
        self._caller = Caller()
        self._is_slow = False
        self._fatal: KafkaError | None = None
        settings = {name: value for name, value in base.items() if name not in _OWN_CALLBACKS}
        settings |= PRODUCER_SETTINGS | {
            "transactional.id": prefix + transactional_id,
            "transaction.timeout.ms": timeouts.transaction_ms,
            "message.timeout.ms": timeouts.message_ms,
            "socket.timeout.ms": timeouts.request_ms,
            "log_level": _INFO_LEVEL,
            # Else a client that lost every broker forgets them, and a call that waits for one of them never returns.
            "metadata.recovery.strategy": "none",
        }
        try:
            self._producer = self._take_over(settings)
        except BaseException:
            self._caller.close()  # nobody else will: who is asked again makes a new one
            raise

    def _take_over(self, settings: dict[str, Any]) -> Producer:
        identity, seconds = settings["transactional.id"], ANSWER_SECONDS_MAX
        try:
            producer: Producer = Producer(settings, logger=self._watch)
            self._caller.call(producer.init_transactions, (seconds,), seconds + _GRACE_SECONDS)
        except KafkaException as error:
            if error.args[0].code() in FENCED_CODES:
                raise Fenced(f"another worker takes over this slot: {error_text(error)}") from error
            raise unanswered(error, f"the identity {identity} could not be taken over") from error
        except TimeoutError:
            sentence = f"the Kafka client did not take the identity {identity} over within {seconds:.0f} s"
            raise Unavailable(sentence) from None
        return producer

    @property
    def doubt(self) -> str | None:
        """A commit or abort was slow, or a connection was lost at any time since this producer was made."""
        self._hear()
        if self._watch.has_lost:
            return DISCONNECTED
        return SLOW if self._is_slow else None

    def begin(self) -> None:
        """Open a transaction."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._remedy(error) from error

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """Add records: whole runs of one topic in one call, those with headers one by one."""
        try:
            for start in range(0, len(records), _RUN_RECORDS_MAX):
                self._await_room()
                for run in _runs(records[start : start + _RUN_RECORDS_MAX]):
                    self._produce_run(run)
        except KafkaException as error:
            raise self._remedy(error) from error

    def _await_room(self) -> None:
        """A run must fit as a whole: were only its middle refused, the rest would overtake it."""
        deadline = time.monotonic() + self._call_seconds
        while len(self._producer) + _RUN_RECORDS_MAX > BUFFER_RECORDS_MAX:
            native(self._producer.poll, 0.05)
            if time.monotonic() > deadline:
                raise CommitUnknown(f"the send buffer stayed full for {self._call_seconds:.0f} s")

    def _produce_run(self, run: list[OutgoingRecord]) -> None:
        topic = self._prefix + run[0].topic
        partition = ANY_PARTITION if run[0].partition is None else run[0].partition
        if run[0].headers:  # librdkafka's batch call takes no headers
            for record in run:
                self._producer.produce(topic, record.value, record.key, partition=partition, headers=[*record.headers])
            return
        # The partition is given once for the call: one given per row is not looked at by the client.
        rows: list[dict[str, Any]] = [{"key": record.key, "value": record.value} for record in run]
        if self._producer.produce_batch(topic, rows, partition=partition) != len(rows):
            error = next(row["_error"] for row in rows if "_error" in row)
            if error.code() == KafkaError._FATAL:  # noqa: SLF001  # see kafka_errors
                raise KafkaException(error)
            raise AbortRequired(f"a record for {topic} was refused: {error}")

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """Add offsets, checked against the group's generation by the coordinator."""
        if _generation(metadata) < 0:  # the coordinator takes "no generation" for an old client and checks nothing
            raise AbortRequired("this worker is not a member of the group")
        rows = [KafkaTopicPartition(self._prefix + key.topic, key.partition, offset) for key, offset in offsets.items()]
        # Offsets that overtake the records meet the markers of the last transaction, and the client waits for 100 ms.
        self._call(self._producer.flush, self._call_seconds)
        self._call(self._producer.send_offsets_to_transaction, rows, metadata, self._call_seconds)

    def commit(self) -> None:
        """Commit; certain when it returns."""
        self._settle(self._producer.commit_transaction)

    def abort(self) -> None:
        """Drop the transaction."""
        self._settle(self._producer.abort_transaction)

    def _settle(self, call: Callable[[float], None]) -> None:
        """End the transaction, and note what makes its outcome certain but the next transaction unsafe."""
        began = time.monotonic()
        self._call(call, self._call_seconds)
        self._is_slow |= time.monotonic() - began > self._request_seconds

    def _hear(self) -> None:
        """Take the client's lines. A fatal error among them is answered by the next call too, with its remedy."""
        try:
            native(self._producer.poll, 0)
        except KafkaException as error:
            self._fatal = error.args[0]

    def close(self) -> None:
        """Drop what is queued and let the client go. A fenced or fatal client refuses even that; it is gone anyway."""
        self._caller.close()
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            native(self._producer.poll, 0)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """On a thread that can be given up: the client has calls that overrun their time for ever."""
        try:
            self._caller.call(function, arguments, self._call_seconds + _GRACE_SECONDS)
        except KafkaException as error:
            raise self._remedy(error) from error
        except TimeoutError:
            raise CommitUnknown(f"the Kafka client did not return within {self._call_seconds:.0f} s") from None

    def _remedy(self, error: KafkaException) -> Exception:
        """As `remedy`; "fatal" by itself says nothing, so that what was fatal is looked up."""
        detail = error.args[0]
        if detail.code() == KafkaError._FATAL:  # noqa: SLF001  # see kafka_errors
            if self._fatal is None:
                self._hear()
            detail = self._fatal or detail
        return remedy(detail)


_OWN_CALLBACKS = frozenset({"error_cb", "logger"})
"""With a callback for errors the client turns a fatal one into a SystemError of whatever call is under way."""

_METADATA_MAGIC = b"CGMDv2:"


def _generation(metadata: GroupMetadata) -> int:
    """The generation within librdkafka's serialised membership: a magic word, then a native 32-bit integer."""
    assert isinstance(metadata, bytes), "group metadata is no longer bytes; see the client's release notes"
    assert metadata.startswith(_METADATA_MAGIC), "group metadata has a new layout; see the client's release notes"
    start = len(_METADATA_MAGIC)
    return int.from_bytes(metadata[start : start + 4], sys.byteorder, signed=True)


def _runs(records: Sequence[OutgoingRecord]) -> Iterable[list[OutgoingRecord]]:
    """Group by topic, kind of call and named partition.

    The order within a run stays, which is the order of every partition: a topic's records either all name their
    partition (changelogs), all have headers (dead letters), or neither.
    """
    runs: dict[tuple[str, bool, int | None], list[OutgoingRecord]] = {}
    run: list[OutgoingRecord] = []
    topic: str | None = None
    partition: int | None = None
    for record in records:
        if record.topic is topic and record.partition == partition and not record.headers:
            run.append(record)  # the run of the record before: by far the most common
            continue
        run = runs.setdefault((record.topic, bool(record.headers), record.partition), [])
        run.append(record)
        topic, partition = (None if record.headers else record.topic), record.partition
    return runs.values()
