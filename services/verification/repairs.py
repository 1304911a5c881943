"""Repairs: what people gave a service again, what it answered, and what still waits for one."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

from services.verification.judge import V1, V6, V7, Judge
from services.verification.letters import Letters, Source, place, shown
from services.verification.model import Entry, World
from services.verification.names import INPUTS, repairs_of

REPLAYED, DISCARDED = "REPLAYED", "DISCARDED"
RESOLVED_TOPIC = "dead-letters.resolved"
_FIRST_ADDED = "repair.id"


TO_THE_END = sys.maxsize
"""An offset behind every other."""

Line = tuple[str, str, int, str]
"""Service, topic, partition, and the name under which records of a key wait."""


class Repairs:
    """What lies on `repairs.<service>` and `dead-letters.resolved`."""

    def __init__(self, world: World, judge: Judge, letters: Letters) -> None:
        """Read the answers; a topic that does not exist has none."""
        self._world = world
        self._judge = judge
        self._letters = letters
        self._topics = set(world.topics())
        self._answers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """Outcomes by service and repair id."""
        self._resolved: Counter[Source] = Counter()
        if RESOLVED_TOPIC in self._topics:
            self._read(world.entries(RESOLVED_TOPIC))

    def _read(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            try:
                answer = json.loads(entry.value or b"")
                outcome, repair_id, of = answer["outcome"], answer["id"], answer["of"]
            except (ValueError, KeyError, TypeError):
                self._judge.check(V7, False, place(entry), "is no answer to a repair")  # noqa: FBT003
                continue
            service, _, rest = of.partition("/")
            self._answers[service, repair_id].append(outcome)
            parts = rest.rsplit("/", 2)
            if outcome in (REPLAYED, DISCARDED) and len(parts) == 3 and all(part.isdecimal() for part in parts[1:]):
                source = (service, parts[0], int(parts[1]), int(parts[2]))
                self._resolved[source] += 1
                once = self._resolved[source] == 1
                self._judge.check(V7, once, place(entry), "resolves a second time", shown(source))
                known = source in self._letters.parked
                self._judge.check(V7, known, place(entry), "resolves what is no dead letter:", shown(source))

    def entries(self, service: str) -> Iterable[Entry]:
        """The repairs for a service."""
        topic = repairs_of(service)
        return self._world.entries(topic) if topic in self._topics else ()

    def source_of(self, service: str, repair: Entry, *, in_flight: bool) -> Entry | None:
        """The record a repair gives again, where it lay at first; None when the service did not process it."""
        headers = {name: (value or b"").decode(errors="replace") for name, value in repair.headers}
        answers = self._answers.get((service, headers.get("repair.id", "")), [])
        if not in_flight and not self._judge.check(V1, bool(answers), place(repair), "is a repair without an answer"):
            return None
        parts = headers.get("repair.of", "").rsplit("/", 2)
        places = len(parts) == 3 and all(part.isdecimal() for part in parts[1:])
        pending = in_flight and not answers and headers.get("repair.action") == "REPLAY"
        if not places or (REPLAYED not in answers and not pending):
            return None
        if REPLAYED in answers:
            answers.remove(REPLAYED)
        names = [name for name, _ in repair.headers]
        if _FIRST_ADDED not in names:
            return None
        own = repair.headers[: len(names) - 1 - names[::-1].index(_FIRST_ADDED)]
        topic = parts[0] if parts[0] in INPUTS[service] else ""
        partition, offset = int(parts[1]), int(parts[2])
        came_ms = self._letters.came_ms.get((service, topic, partition, offset), repair.timestamp_ms)
        return repair._replace(topic=topic, partition=partition, offset=offset, headers=own, timestamp_ms=came_ms)

    def waits(self, source: Source) -> bool:
        """Whether the record was put aside and is not resolved."""
        return source in self._letters.parked and source not in self._resolved

    def held(self) -> dict[Line, dict[int, int]]:
        """Where records of a key had to wait: the offset of what held them, and the last offset of which it is known.

        What was put aside behind another shows that this one still waited then; what is not resolved waits to the end.
        """
        held: defaultdict[Line, dict[int, int]] = defaultdict(dict)
        for source, name in self._letters.names.items():
            if not name.startswith("key/"):
                continue
            service, topic, partition, offset = source
            spans = held[service, topic, partition, name]
            if self.waits(source):
                spans[offset] = TO_THE_END
            first = self._letters.behind.get(source)
            if first is not None:
                spans[first] = max(offset, spans.get(first, offset))
        return held

    def compare(self, service: str, parked: Iterable[tuple[str, int, int]]) -> None:
        """What waits for a repair is exactly what was put aside and not resolved."""
        found = {(service, *one) for one in parked}
        expected = {one for one in self._letters.parked if one[0] == service and one not in self._resolved}
        for source in sorted(found | expected):
            there, due = source in found, source in expected
            sentence = "is not remembered as waiting for a repair" if due else "is remembered and waits for nothing"
            self._judge.check(V6, there == due, "state of", shown(source), sentence)
