"""Every topic as `schemas/topics` declares it, and the records that travel on them.

One file per topic, read strictly: an unknown key or record, or a missing setting, is an error that names the file.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from services.domain import event
from services.domain.record import Record
from services.domain.reference import REFERENCE_KINDS

DIRECTORY = Path(__file__).parents[1] / "schemas" / "topics"

WIRE_RECORDS: tuple[type[Record], ...] = (
    event.Execution,
    event.AllocationInstruction,
    event.CounterpartyConfirmation,
    event.CapturedTrade,
    event.EnrichedTrade,
    event.AllocatedTrade,
    event.ReceivedConfirmation,
    event.ConfirmedTrade,
    event.MatchStatusReport,
    event.SettlementInstruction,
    event.ExceptionEvent,
    *REFERENCE_KINDS,
)
"""Every record that is written to a topic as Avro. `SettlementMessage` is not among them: its topic holds bare XML."""

_DAY_MS = 86_400_000
_NAMED: tuple[type[Record], ...] = (*WIRE_RECORDS, event.SettlementMessage)
_BY_NAME = {record_type.__name__: record_type for record_type in _NAMED}


class TopicFormat(StrEnum):
    """What the values of a topic are."""

    AVRO = "avro"
    """One Avro record in single-object encoding."""
    FIX = "fix"
    """One FIX message, tag=value, as it came over the session."""
    XML = "xml"
    """One ISO 20022 document."""
    JSON = "json"
    """One JSON object; its members are said where it is written."""
    RAW = "raw"
    """Bytes of any topic, unread."""
    STATE = "state"
    """Rows of a service's state; internal to the engine, no contract for others."""


class Cleanup(StrEnum):
    """Kafka's cleanup.policy: what makes old records go."""

    DELETE = "delete"
    """Their age."""
    COMPACT = "compact"
    """A newer record with the same key."""


class TopicConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kafka's settings of a topic. What is not named is left to the broker, replication above all."""

    partitions: int
    """Topics whose keys must meet have the same number: the join finds its other side in the same partition."""
    cleanup: Cleanup = Cleanup.DELETE
    retention_days: int | None = None
    """Age at which records go; required for cleanup 'delete', refused for 'compact'."""
    max_message_bytes: int | None = None
    """Largest record batch the broker takes, headers included."""
    message_timestamp_type: str | None = None
    """LogAppendTime: the broker's clock stamps the record, whatever the sender claims."""
    min_cleanable_dirty_ratio: Decimal | None = None
    """Share of uncompacted bytes at which compaction starts: lower is a shorter restore for more disk traffic."""
    segment_ms: int | None = None
    """Age at which a segment is closed; only closed segments are compacted."""
    delete_retention_ms: int | None = None
    """How long compaction keeps a deletion: a reader that began before must come past it in this time."""

    def __post_init__(self) -> None:
        """Refuse what Kafka would silently read in its own way. Raises ValueError."""
        if self.partitions < 1:
            raise ValueError("partitions was below 1")
        if (self.retention_days is None) != (self.cleanup is Cleanup.COMPACT):
            raise ValueError("retention_days was not given exactly for cleanup 'delete'")
        if self.delete_retention_ms is not None and self.cleanup is not Cleanup.COMPACT:
            raise ValueError("delete_retention_ms was given for cleanup 'delete', where nothing is compacted")
        if self.message_timestamp_type not in (None, "LogAppendTime", "CreateTime"):
            raise ValueError("message_timestamp_type was neither LogAppendTime nor CreateTime")

    def to_kafka(self) -> dict[str, str]:
        """The settings under Kafka's names, without the number of partitions."""
        settings: dict[str, object] = {
            "cleanup.policy": self.cleanup.value,
            "retention.ms": None if self.retention_days is None else self.retention_days * _DAY_MS,
            "max.message.bytes": self.max_message_bytes,
            "message.timestamp.type": self.message_timestamp_type,
            "min.cleanable.dirty.ratio": self.min_cleanable_dirty_ratio,
            "segment.ms": self.segment_ms,
            "delete.retention.ms": self.delete_retention_ms,
        }
        return {name: str(value) for name, value in settings.items() if value is not None}


class TopicSpecification(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic: what is on it, who writes it, who reads it."""

    name: str
    """Name on the broker, and of the file."""
    description: str
    key: str
    """What the record's key is: a field of the record, or a sentence."""
    producers: tuple[str, ...]
    """Services, or `engine`, or `external: ` and who."""
    consumers: tuple[str, ...]
    """Services, or `engine`, or `external: ` and who."""
    format: TopicFormat
    record: str | None = None
    """Name of the struct, for 'avro' and 'xml'."""
    schema: str | None = None
    """Newest file in schemas/avro, for 'avro'."""
    compatibility: str | None = None
    """FULL_TRANSITIVE, for 'avro': every version reads every other."""
    examples: str | None = None
    """Folder under schemas, for 'avro'."""
    config: TopicConfiguration

    def __post_init__(self) -> None:
        """Hold the parts against each other. Raises ValueError."""
        is_avro = self.format is TopicFormat.AVRO
        for part in ("schema", "compatibility", "examples"):
            if (getattr(self, part) is not None) != is_avro:
                raise ValueError(f"{part} was not given exactly for format 'avro'")
        if (self.record is not None) != (self.format in (TopicFormat.AVRO, TopicFormat.XML)):
            raise ValueError("record was not given exactly for format 'avro' or 'xml'")
        if self.record is not None and self.record not in _BY_NAME:
            raise ValueError(f"record was {self.record}, which is no event")
        if is_avro and self.compatibility != "FULL_TRANSITIVE":
            raise ValueError(f"compatibility was {self.compatibility}, not FULL_TRANSITIVE")
        if self.format is TopicFormat.STATE and self.config.delete_retention_ms is None:
            raise ValueError("delete_retention_ms was not given; by it a worker judges how old its snapshots may be")

    @property
    def record_type(self) -> type[Record] | None:
        """The struct of the topic's values; None when they are no records."""
        return None if self.record is None else _BY_NAME[self.record]


def load_topics(directory: Path = DIRECTORY) -> dict[str, TopicSpecification]:
    """Read every topic, by name, in alphabetical order. Raises ValueError that names the file and what was wrong."""
    return {path.stem: _load(path) for path in sorted(directory.glob("*.toml"))}


def _load(path: Path) -> TopicSpecification:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        if "name" in table:
            raise ValueError("name was given; it is the file's name")
        return msgspec.convert(table | {"name": path.stem}, TopicSpecification)
    except (ValueError, msgspec.ValidationError) as error:
        raise ValueError(f"schemas/topics/{path.name}: {error}") from None
