"""Records that no service can digest: as the driver makes them, and as the worker's stages choke on them.

What a bug in a stage would do is done by a wrapper that knows such records by their key: `RAISE-<service>-…` makes the
stage of that service raise, `EXIT-<service>-…` ends the whole process. What raised can be replayed with success in some
services once the record is old enough, as if somebody had mended the bug meanwhile.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.domain.record import Record
from services.stage import Outcome, Received, Stage, State
from tests.chaos.events import Teller

RAISE = "RAISE-"
EXIT = "EXIT-"
EXIT_CODE = 86
RAISING_SERVICES = ("capture", "enrichment", "allocation")
"""The services whose input is keyed by the order, so that the sender's choice of an order id reaches them."""

MENDED = RAISING_SERVICES
MENDED_AFTER_US = 15_000_000
"""Age of a record at which these services digest it after all."""

OVERSIZE_BYTES = 990_000
"""Near Kafka's usual limit of 1 MB, and below the topics' own."""
_AVRO_HEADER_BYTES = 10
_CHECKSUMS = 256


class StageFailedOnPurpose(RuntimeError):
    """The bug that the harness plays."""


class PoisonedStage:
    """A stage that raises or ends its process when it meets a marked key."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        """Wrap a stage."""
        self._stage = stage
        self._teller = teller
        self.name = stage.name
        self.state_types: tuple[type[Record], ...] = stage.state_types
        self.suppress_causes = stage.suppress_causes

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Choke, or do what the stage does."""
        for received in batch:
            key = received.key or ""
            if key.startswith(f"{EXIT}{self.name}-"):
                self._teller.tell("exit", service=self.name, key=key)
                os._exit(EXIT_CODE)
            is_mended = self.name in MENDED and now_us - received.timestamp_us > MENDED_AFTER_US
            if key.startswith(f"{RAISE}{self.name}-") and not is_mended:
                raise StageFailedOnPurpose
        return self._stage.process(batch, state, now_us)

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """What the stage does."""
        return self._stage.on_time(state, now_us)


class Raw(NamedTuple):
    """A key and a value as they are sent."""

    key: bytes | None
    value: bytes | None


Spoil = Callable[[random.Random, bytes, bytes], Raw]
"""Makes a poisonous record of the key and the value of a good one."""


def _random_bytes(chance: random.Random, key: bytes, _value: bytes) -> Raw:
    return Raw(key, chance.randbytes(chance.randint(1, 400)))


def _truncated(chance: random.Random, key: bytes, value: bytes) -> Raw:
    return Raw(key, value[: chance.randint(_AVRO_HEADER_BYTES + 1, len(value) - 1)])


def _unknown_schema(chance: random.Random, key: bytes, value: bytes) -> Raw:
    return Raw(key, value[:2] + chance.randbytes(8) + value[_AVRO_HEADER_BYTES:])


def _null_value(_chance: random.Random, key: bytes, _value: bytes) -> Raw:
    return Raw(key, None)


def _null_key(_chance: random.Random, _key: bytes, value: bytes) -> Raw:
    return Raw(None, value)


def _key_no_text(chance: random.Random, _key: bytes, value: bytes) -> Raw:
    return Raw(b"\xff\xfe" + chance.randbytes(6), value)


def _oversize(chance: random.Random, key: bytes, value: bytes) -> Raw:
    return Raw(key, value + chance.randbytes(OVERSIZE_BYTES - len(value)))


def wrong_checksum(message: bytes) -> bytes:
    """A FIX message with CheckSum (10) one too high: three digits, then SOH."""
    checksum = (int(message[-4:-1]) + 1) % _CHECKSUMS
    return message[:-4] + f"{checksum:03d}".encode() + message[-1:]


AVRO_SPOILS: dict[str, Spoil] = {
    "random bytes": _random_bytes,
    "truncated Avro": _truncated,
    "unknown schema": _unknown_schema,
    "null value": _null_value,
    "null key": _null_key,
    "key that is no text": _key_no_text,
    "oversize": _oversize,
}
"""What is made of a good record of front-office.executions."""

WRONG_CHECKSUM = "FIX with a wrong checksum"
STAGE_RAISES = "stage raises"
ENDS_PROCESS = "ends the process"
KINDS = (*AVRO_SPOILS, WRONG_CHECKSUM, STAGE_RAISES)
"""Every kind of poison that comes all the time; `ENDS_PROCESS` comes now and then, for each costs several starts."""
