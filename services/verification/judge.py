"""Where checks report to: counts what was compared, keeps what is wrong, and sums it up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.verification.model import Finding, Report, Waiting
from services.verification.plain import SEPARATOR, text

V1, V2, V3, V4, V5, V6, V7, V8, V9, V10 = (f"V{number}" for number in range(1, 11))

TITLES = {
    V1: "every input has its outcome",
    V2: "nothing without a cause, nothing twice",
    V3: "order per key",
    V4: "quantities and cash conserved",
    V5: "no open transaction",
    V6: "state as recomputed",
    V7: "dead letters and counts add up",
    V8: "audit chain",
    V9: "counters as topics",
    V10: "everything read, nothing idle",
}
"""Each invariant with its short name, in order."""


@dataclass(frozen=True)
class Moving:
    """Part of a sentence that changes while work goes on, as every number does: told, but no part of the identity."""

    value: object

    def __str__(self) -> str:
        return text(self.value)


class Judge:
    """Collects what the checks find; decides nothing itself."""

    def __init__(self, breaks_max: int) -> None:
        """Start with nothing found; of each invariant the first `breaks_max` breaks are kept in words."""
        self._breaks_max = breaks_max
        self._checked: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._breaks: defaultdict[str, list[str]] = defaultdict(list)
        self._identities: defaultdict[str, list[str]] = defaultdict(list)
        self._notes: defaultdict[str, list[str]] = defaultdict(list)
        self._unjudged: set[str] = set()
        self.is_quiet = False
        """While set, nothing is counted: what is looked at is older than what is judged."""

    def check(self, invariant: str, holds: bool, *sentence: object) -> bool:  # noqa: FBT001
        """Count one comparison; when it does not hold, the parts of the sentence are joined and kept as a break.

        Which break it is, is said by the parts that neither are numbers nor `Moving`; an offset that belongs to it
        must therefore be given as text.
        """
        if self.is_quiet:
            return holds
        self._checked[invariant] += 1
        if not holds:
            self._counts[invariant] += 1
            if len(self._breaks[invariant]) < self._breaks_max:
                self._breaks[invariant].append(" ".join(map(text, sentence)).replace(SEPARATOR, "/"))
                lasting = (text(part) for part in sentence if not isinstance(part, Moving | Decimal | int))
                self._identities[invariant].append(" ".join(lasting))
        return holds

    def check_row(self, name: str, found: tuple[object, ...], expected: tuple[object, ...]) -> bool:
        """Compare what is remembered under a name of the state with what follows; both move while work goes on."""
        told = (*map(Moving, found), "where", *map(Moving, expected), "follows")
        return self.check(V6, found == expected, name, "has", *told)

    def note(self, invariant: str, sentence: str) -> None:
        """Say something about an invariant that is no break."""
        self._notes[invariant].append(sentence)

    def leave_out(self, invariant: str, why: str) -> None:
        """Say that an invariant is not judged, and why."""
        self._unjudged.add(invariant)
        self.note(invariant, why)

    def report(self, waiting: Iterable[Waiting] = ()) -> Report:
        """The ten findings, and what was not processed yet."""
        return Report(
            tuple(
                Finding(
                    invariant=name,
                    title=title,
                    checked=self._checked[name],
                    breaks=tuple(self._breaks[name]),
                    identities=tuple(self._identities[name]),
                    break_count=self._counts[name],
                    judged=name not in self._unjudged,
                    note="; ".join(self._notes[name]),
                )
                for name, title in TITLES.items()
            ),
            tuple(waiting),
        )
