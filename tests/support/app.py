"""The real worker app in a test, on either log, with a small but complete set of reference data."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TypeVar

import pytest

from services.adapters.kafka_log import KafkaLog
from services.adapters.reference_files import load_directory, topic_of
from services.adapters.topic_admin import TopicAdmin
from services.adapters.topic_codec import FormatCodec
from services.domain import reference as ref
from services.domain.code import AllocationPolicy, InstrumentType
from services.domain.record import Decimal, Record
from services.engine.app import App
from services.engine.log import Log, LogRecord, OutgoingRecord, TopicPartition
from services.pipeline import SERVICE_NAMES, make_codec, make_worker
from services.settings import Settings
from services.topics import load_topics
from tests import samples

T = TypeVar("T")
WAIT_SECONDS_MAX = 60.0
MARKET_DATA = Path(__file__).parents[2] / "deploy" / "reference"


@pytest.fixture
def kafka_log(kafka: str, prefix: str) -> Iterator[Log]:
    """The session's broker with every topic of the pipeline under the test's own prefix, and reference data on it."""
    TopicAdmin(kafka, prefix=f"{prefix}.").apply(load_topics())
    log = KafkaLog(kafka, prefix=f"{prefix}.")
    send_reference(log, make_codec(), reference_records())
    yield log
    log.close()


def reference_records() -> list[ref.ReferenceRecord]:
    """The shipped market data, one instrument, one counterparty, two accounts that settle and one block account."""
    own: list[ref.ReferenceRecord] = [
        ref.Instrument(
            isin=samples.ISIN,
            name="SAP SE",
            instrument_type=InstrumentType.EQUITY,
            settlement_market="DE",
            currency="EUR",
            issuer_country="DE",
            denomination=Decimal(1),
        ),
        ref.Party(bic=samples.COUNTERPARTY_BIC, lei="7LTWFZYICNSX8D621K86", name="Deutsche Bank AG"),
        ref.Account(account="FUND-A", name="Fund A", allocation_policy=AllocationPolicy.SINGLE),
        ref.Account(account="FUND-B", name="Fund B", allocation_policy=AllocationPolicy.SINGLE),
        ref.Account(account="BLOCK-1", name="Block", allocation_policy=AllocationPolicy.EXPLICIT),
    ]
    for owner, participant in (
        (samples.COUNTERPARTY_BIC, samples.COUNTERPARTY_BIC),
        ("FUND-A", "PARBDEFFXXX"),
        ("FUND-B", "PARBDEFFXXX"),
    ):
        own.append(
            ref.StandingSettlementInstruction(
                owner=owner,
                settlement_market="DE",
                depository_bic="DAKVDEFFXXX",
                participant_bic=participant,
                safekeeping_account=f"{owner}-SAFE",
                valid_from=date(2020, 1, 1),
            )
        )
    return [*load_directory(MARKET_DATA), *own]


def send_reference(log: Log, codec: FormatCodec, records: Iterable[ref.ReferenceRecord]) -> None:
    """Write reference data as `posttrade reference load` does."""
    log.send(
        OutgoingRecord(topic_of(type(row)), row.key.encode(), codec.encode(topic_of(type(row)), row)) for row in records
    )


@contextlib.asynccontextmanager
async def running_worker(
    log: Log, data_dir: Path, *, services: Iterable[str] = SERVICE_NAMES, slot: int = 0
) -> AsyncIterator[App]:
    """Run the worker's Faust app inside the test's event loop; stopped cleanly at the end."""
    settings = Settings(worker_slot=slot, data_dir=str(data_dir))
    app = make_worker(settings, log, services=services, web_enabled=False)
    task = asyncio.create_task(app.start())
    try:
        yield app
    finally:
        await app.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(probe: Callable[[], T | None], what: str) -> T:
    """Await something that a probe finds, by asking again after each short wait; fails loudly when it never comes."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        found = await asyncio.to_thread(probe)
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come about in {WAIT_SECONDS_MAX:.0f} s"
        await asyncio.sleep(0.05)


def read_topic(log: Log, topic: str) -> list[LogRecord]:
    """Every committed record of a topic."""
    reader = log.reader({TopicPartition(topic, number): 0 for number in range(log.partitions(topic))})
    records: list[LogRecord] = []
    while not reader.at_end():
        records += reader.poll(10_000, 0.2)
    reader.close()
    return records


def read_events(log: Log, codec: FormatCodec, topic: str) -> list[Record]:
    """Every committed event of a topic."""
    return [codec.decode(topic, record.value) for record in read_topic(log, topic)]


def header(record: LogRecord, name: str) -> str:
    """A header of a dead letter, as text."""
    values: Mapping[str, bytes | None] = dict(record.headers)
    return (values[name] or b"").decode()
