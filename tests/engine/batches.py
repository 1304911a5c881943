"""Batches of the poisoned counting service, one after the other, without a log: each is committed as it ends."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.quarantine import Parked, Quarantine
from services.engine.repair import Action, Resolution, repair_record
from services.engine.share_limit import Verdicts
from services.engine.state import Overlay, Tables
from services.engine.work import Batch, Result
from tests.support.engine_stages import Count, Counted, JsonCodec
from tests.support.poison import PoisonedStage


class Partition:
    """One partition of the service: its inputs grow, and are taken in batches of any size."""

    def __init__(self) -> None:
        self.stage = PoisonedStage()
        self.tables = Tables([Count])
        self.results: list[Result] = []
        self.verdicts: list[Verdicts] = []
        self.sources: list[LogRecord] = []
        self._waiting: list[LogRecord] = []
        self._repairs = 0

    def add(self, record: OutgoingRecord) -> LogRecord:
        """One more input record."""
        offset = len(self.sources)
        found = LogRecord("said", 0, offset, record.key, record.value, 1_000 + offset, record.headers)
        self.sources.append(found)
        self._waiting.append(found)
        return found

    def repair(
        self, source: LogRecord, action: Action = Action.REPLAY, *, value: bytes | None = None, repair_id: str = ""
    ) -> str:
        """One more repair; answers its id."""
        self._repairs += 1
        repair_id = repair_id or f"repair-{self._repairs}"
        record = repair_record(
            service="counting",
            source=source if value is None else msgspec.structs.replace(source, value=value),
            action=action,
            repair_id=repair_id,
            by="ann",
            reason="mended",
            at="2026-03-02T12:00:00+00:00",
            changed=value is not None,
        )
        assert record.partition == 0
        self._waiting.append(LogRecord(record.topic, 0, self._repairs, record.key, record.value, 9_000, record.headers))
        return repair_id

    def add_raw_repair(self, record: LogRecord) -> None:
        """A repair as somebody else may write it."""
        self._waiting.append(record)

    def run(self, size: int | None = None) -> Result:
        """Take up to `size` records and commit what they came to."""
        taken, self._waiting = self._waiting[:size], self._waiting[size:] if size else []
        batch = Batch(
            stage=self.stage,
            partition=0,
            records=taken,
            overlay=Overlay(self.tables, ReferenceData()),
            codec=JsonCodec(),
            now_us=0,
            due=False,
            monotonic=lambda: 0.0,
        )
        batch.process()
        if batch.failure is not None:
            raise batch.failure
        assert batch.result is not None
        self.tables.apply(batch.overlay.changes())
        self.results.append(batch.result)
        self.verdicts.append(batch.verdicts)
        return batch.result

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    # --- what came of it

    def on(self, topic: str) -> list[OutgoingRecord]:
        """Everything that was committed to a topic."""
        return [record for result in self.results for record in result.records if record.topic == topic]

    def counted(self, key: str) -> list[int]:
        """The numbers that were counted of a key, in order."""
        records = [record for record in self.on("counted") if record.key == key.encode()]
        found = [msgspec.json.decode(record.value or b"", type=Counted) for record in records]
        assert [one.count for one in found] == list(range(1, len(found) + 1)), "the state followed another order"
        return [one.number for one in found]

    def letters(self) -> list[tuple[int, str, str]]:
        """Offset, class and attempt of every dead letter."""
        return [
            (int(_text(letter, "src.offset")), _text(letter, "err.class"), _text(letter, "attempt"))
            for letter in self.on("dead-letters")
        ]

    def outcomes(self) -> dict[str, str]:
        """Outcome of every repair, by its id; the last one where an id came twice."""
        records = self.on("dead-letters.resolved")
        found = [msgspec.json.decode(record.value or b"", type=Resolution) for record in records]
        return {resolution.id: resolution.outcome.value for resolution in found}

    def waiting(self) -> dict[str, list[int]]:
        """Offsets that wait, by the name of their quarantine, as the tables say."""
        rows: dict[str, list[int]] = {}
        for name, row in self.tables.rows[Quarantine].items():
            assert isinstance(row, Quarantine)
            assert row.head < row.tail
            parked = [self.tables.rows[Parked][f"{name}/{number}"] for number in range(row.head, row.tail)]
            rows[name] = [one.offset for one in parked if isinstance(one, Parked)]
        count = sum(len(offsets) for offsets in rows.values())
        assert len(self.tables.rows[Parked]) == count, "a row is left that no quarantine knows"
        return rows

    def rebuilt(self) -> dict[type[Record], dict[str, Record]]:
        """What a restore from the changelog would come to."""
        tables = Tables([Count])
        for record in self.on("state.counting"):
            assert record.key is not None
            tables.restore(record.key, record.value)
        return tables.rows


def header(record: OutgoingRecord, name: str) -> str:
    """A header as text."""
    return _text(record, name)


def _text(record: OutgoingRecord, name: str) -> str:
    return (dict(record.headers).get(name) or b"").decode()


def taken_in(partition: Partition, sizes: Sequence[int]) -> None:
    """Run until nothing is left, in batches of these sizes, over and over."""
    place = 0
    while not partition.is_idle:
        partition.run(sizes[place % len(sizes)])
        place += 1
