"""Dead letters: each stands for one record that could not be handled, and must be that record byte for byte."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from services.verification.judge import V2, V7, Judge
from services.verification.model import Entry
from services.verification.names import DEAD_LETTERS, INPUTS
from services.verification.plain import bytes_digest

_FIRST_ADDED = "err.class"
"""Where the engine's headers begin: the last of that name."""
_FIRST_ATTEMPT = "1"
_PARKED = "PARKED"
_BEHIND = re.compile(r"waits behind (.+)/(\d+)/(\d+) of the same key")
_CHANGED = "repair.changed"
_OMITTED = "err.omitted"
_LETTER_BYTES_MAX = 3_000_000
_ADDED_BYTES_MAX = 500_000
"""Of the headers that the engine adds: the name of a key may be long."""
_KEY_BYTES_MAX = 100_000

Source = tuple[str, str, int, int]
"""Service that gave up, and topic, partition and offset of what it could not handle."""


class _Letter(NamedTuple):
    where: str
    content: bytes
    is_changed: bool
    omitted: str | None
    """How many bytes its source has, of one that was too large to be repeated; else None."""
    """It holds what a repair put in place of the original value."""


class Letters:
    """What lies on `dead-letters`, by the record each stands for."""

    def __init__(self, judge: Judge) -> None:
        """Start without any."""
        self._judge = judge
        self._letters: dict[Source, list[_Letter]] = {}
        self._attempts: set[tuple[Source, str]] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        """By service and error class."""
        self.parked: set[Source] = set()
        """Sources that wait for a repair, or did: the engine remembers them until they are resolved."""
        self.names: dict[Source, str] = {}
        """Of these the name under which each waits: `key/…` when others wait behind it."""
        self.came_ms: dict[Source, int] = {}
        """Of these when each entered its topic."""
        self.behind: dict[Source, int] = {}
        """Of those put aside unprocessed the offset, in the same partition, of the record they had to wait for."""

    def read(self, entries: Iterable[Entry]) -> None:
        """Take all dead letters in."""
        for entry in entries:
            headers, where, check = _texts(entry), place(entry), self._judge.check
            service, topic = headers.get("err.stage", ""), headers.get("src.topic", "")
            numbers = headers.get("src.partition", ""), headers.get("src.offset", "")
            known = topic in INPUTS.get(service, ()) and all(number.isdecimal() for number in numbers)
            if not check(V7, known, "dead letter at", where, "does not say which record of whom it is"):
                continue
            source = (service, topic, int(numbers[0]), int(numbers[1]))
            attempt = (source, headers.get("attempt", _FIRST_ATTEMPT))
            once = attempt not in self._attempts
            check(V7, once, "dead letter at", where, "is there a second time for", shown(source))
            self._attempts.add(attempt)
            self.counts[service, headers.get(_FIRST_ADDED, "")] += 1
            if "attempt" in headers:
                self.parked.add(source)
                self.names[source] = headers.get("quarantine", "")
                came = headers.get("src.timestamp", "")
                if check(V7, came.isdecimal(), "dead letter at", where, "does not say when its source came"):
                    self.came_ms[source] = int(came)
                self._note_behind(source, headers)
            changed = headers.get(_CHANGED)
            says = changed is None or changed == hashlib.sha256(entry.value or b"").hexdigest()
            check(V7, says, "dead letter at", where, "is not the repair it says it is")
            content = _content(entry, with_value=changed is None)
            letter = _Letter(where, content, changed is not None, _omitted(entry))
            self._letters.setdefault(source, []).append(letter)

    def _note_behind(self, source: Source, headers: Mapping[str, str]) -> None:
        _, topic, partition, offset = source
        found = _BEHIND.match(headers.get("err.message", "")) if headers.get(_FIRST_ADDED) == _PARKED else None
        if found is not None and (found[1], int(found[2])) == (topic, partition) and int(found[3]) < offset:
            self.behind[source] = int(found[3])

    def about(self, service: str, entry: Entry) -> bool:
        """Whether the service gave this input up; the letters are compared with it byte for byte."""
        if not self._letters:
            return False
        letters = self._letters.pop((service, entry.topic, entry.partition, entry.offset), None)
        if letters is None:
            return False
        is_omitted = any(letter.omitted is not None for letter in letters)
        for letter in letters:
            if letter.omitted is not None:
                size = _size_bytes(entry)
                same = letter.omitted == str(size) and size + _ADDED_BYTES_MAX > _LETTER_BYTES_MAX
            elif is_omitted and letter.is_changed:  # made of the one above, in which there was nothing to compare
                same = True
            else:
                same = letter.content == _content(entry, with_value=not letter.is_changed)
            self._judge.check(V7, same, "dead letter at", letter.where, "differs from its source", place(entry))
        return True

    def left_over(self) -> None:
        """After all inputs were asked about: what remains stands for a record that does not exist."""
        for letters in self._letters.values():
            for letter in letters:
                self._judge.check(V2, False, "dead letter at", letter.where, "stands for what is not there")  # noqa: FBT003


def key_name(key: bytes | None) -> str:
    """The name under which records of a key wait; empty for one by which nothing can be joined."""
    try:
        return f"key/{key.decode()}" if key and len(key) <= _KEY_BYTES_MAX else ""
    except UnicodeDecodeError:
        return ""


def place(entry: Entry) -> str:
    """Where a record lies, for people: topic, partition and offset."""
    return f"{entry.topic}[{entry.partition}]@{entry.offset}"


def _texts(entry: Entry) -> dict[str, str]:
    """Headers by name; of several the last, for what the engine adds comes after the sender's own."""
    return {name: value.decode(errors="replace") for name, value in entry.headers if value is not None}


def _content(entry: Entry, *, with_value: bool) -> bytes:
    """Recognise key, value and the headers that the sender gave."""
    own = [part for name, value in _own_headers(entry) for part in (name.encode(), value)]
    return bytes_digest(entry.key, entry.value if with_value else None, *own)


def _omitted(letter: Entry) -> str | None:
    """What the engine says of the size; the sender may have a header of that name."""
    added = dict(letter.headers[len(_own_headers(letter)) :]).get(_OMITTED)
    return None if added is None else added.decode(errors="replace")


def _size_bytes(entry: Entry) -> int:
    headers = sum(len(name.encode()) + len(value or b"") for name, value in entry.headers)
    return len(entry.key or b"") + len(entry.value or b"") + headers


def _own_headers(entry: Entry) -> list[tuple[str, bytes | None]]:
    names = [name for name, _ in entry.headers]
    if entry.topic != DEAD_LETTERS or _FIRST_ADDED not in names:
        return list(entry.headers)
    return list(entry.headers[: len(names) - 1 - names[::-1].index(_FIRST_ADDED)])


def shown(source: Source) -> str:
    """A source for people."""
    service, topic, partition, offset = source
    return f"{topic}[{partition}]@{offset} of {service}"
