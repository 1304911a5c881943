"""Reference data on a worker: all of it before the first record, and what changes afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from services.adapters.memory_log import MemoryLog
from services.domain.errors import DecodeError
from services.domain.record import Record
from services.domain.reference import Party, ReferenceRecord
from services.engine.log import OutgoingRecord
from services.engine.reference import ReferenceFeed
from services.engine.runtime import SYSTEM

TOPIC = "reference.parties"
TOPICS: dict[str, type[ReferenceRecord]] = {TOPIC: Party}
BIC = "DEUTDEFFXXX"


class PartyCodec:
    """JSON parties."""

    def decode(self, topic: str, value: bytes | None) -> Record:
        try:
            return msgspec.json.decode(value or b"", type=Party)
        except msgspec.DecodeError as error:
            raise DecodeError("not a party") from error

    def encode(self, topic: str, event: Record) -> bytes:
        return msgspec.json.encode(event)


def _party(name: str, bic: str = BIC) -> Party:
    return Party(bic=bic, lei="7LTWFZYICNSX8D621K86", name=name)


def _put(log: MemoryLog, party: Party, value: bytes | None = None) -> None:
    log.send([OutgoingRecord(TOPIC, party.key.encode(), msgspec.json.encode(party) if value is None else value)])


def _name(feed: ReferenceFeed, bic: str = BIC) -> str | None:
    party = feed.data._by_key.get(Party, {}).get(_party("", bic).key)
    return party.name if isinstance(party, Party) else None


def _feed(log: MemoryLog) -> ReferenceFeed:
    feed = ReferenceFeed(log, PartyCodec(), TOPICS, SYSTEM)
    feed.load()
    return feed


def test_everything_is_there_after_loading_the_newest_of_each_key() -> None:
    """A stage that ran before would refuse trades for data that exists."""
    log = MemoryLog({TOPIC: 3})
    for number in range(50):
        _put(log, _party(f"name {number}", bic=f"BANK{number % 7}"))
    feed = _feed(log)
    assert feed.count == 7
    assert _name(feed, "BANK0") == "name 49"


def test_a_deleted_row_is_gone() -> None:
    """A tombstone, as compaction leaves it."""
    log = MemoryLog({TOPIC: 1})
    _put(log, _party("old"))
    log.send([OutgoingRecord(TOPIC, _party("").key.encode(), None)])
    assert _feed(log).count == 0


def test_loading_nothing_ends() -> None:
    """A first start has no reference data yet."""
    assert _feed(MemoryLog({TOPIC: 4})).count == 0


def test_a_row_that_cannot_be_read_takes_its_predecessor_out_of_force() -> None:
    """Settling on an outdated account is worse than waiting; compaction would drop the old row anyway."""
    log = MemoryLog({TOPIC: 1})
    _put(log, _party("old"))
    _put(log, _party("fine", bic="OTHER"))
    _put(log, _party("new"), value=b"not a party")
    feed = _feed(log)
    assert feed.rejected == 1
    assert _name(feed) is None
    assert _name(feed, "OTHER") == "fine"


async def _wait(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # the feed has no event to wait for
            await asyncio.sleep(0.005)


async def test_changes_are_followed_and_reported_once() -> None:
    """Work that waited for reference data is asked for when it comes."""
    log = MemoryLog({TOPIC: 1})
    _put(log, _party("old"))
    feed = _feed(log)
    assert not feed.take_changed(), "loading is no change: everything due is asked for at the first tick anyway"
    following = asyncio.create_task(feed.follow())
    _put(log, _party("new"))
    await _wait(lambda: _name(feed) == "new")
    assert feed.take_changed()
    assert not feed.take_changed()
    feed.stop()
    await asyncio.wait_for(following, 5)
