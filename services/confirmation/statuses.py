"""Where a match can go from where it stands: the statuses of the matching utilities as one pure table.

    NMAT ⇄ MISM ─► MACH ─► MAGR ─► CREQ ─► CANA
      │      │       │       ▲       │
      └──────┴───────┴► CAND └─ (holds) CREJ ─► CREQ

Before the match is agreed a side cancels by itself (CAND). Afterwards its cancel is a request (CREQ), which the other
side grants by cancelling too (CANA) or refuses (CREJ); after a refusal it may be asked about again. CAND and CANA are
the end. A confirmation whose match our side took back is compared again (NMAT). A confirmation also waits (PEND) or is
disqualified (DISQ) until that changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from services.domain.code import MatchStatus
from services.domain.record import Record

NMAT, PEND, MISM, DISQ, MACH, MAGR, CAND, CREQ, CANA, CREJ = MatchStatus


class Happening(StrEnum):
    """What can happen to one side of a trade."""

    DIFFERED = "DIFFERED"
    """It was paired with the other side, and a field differs."""
    PARTED = "PARTED"
    """It is paired with nothing any more, or what it waited for or contradicted is gone."""
    DEFERRED = "DEFERRED"
    """It has to wait."""
    CONTRADICTED = "CONTRADICTED"
    """What it quotes or replaces is agreed with another."""
    MATCHED = "MATCHED"
    """It was paired, and all fields agree."""
    COMPLETED = "COMPLETED"
    """All parts of the match are there. An allocation is a match of one part: it follows at once."""
    FREED = "FREED"
    """A confirmation whose match our side took back: it may be matched again."""
    CANCELLED_BY_US = "CANCELLED_BY_US"
    CANCELLED_BY_THEM = "CANCELLED_BY_THEM"
    REFUSED_BY_US = "REFUSED_BY_US"
    REFUSED_BY_THEM = "REFUSED_BY_THEM"


class Asking(StrEnum):
    """Which side asks to cancel."""

    OURS = "OURS"
    THEIRS = "THEIRS"


class Standing(Record):
    """Where a side stands; of a request also who asks."""

    status: MatchStatus
    asked_by: Asking | None = None


_OPEN = (NMAT, PEND, MISM, DISQ)
_ON_MATCHING: Mapping[Happening, MatchStatus] = {
    Happening.DIFFERED: MISM,
    Happening.PARTED: NMAT,
    Happening.DEFERRED: PEND,
    Happening.CONTRADICTED: DISQ,
    Happening.MATCHED: MACH,
    Happening.CANCELLED_BY_US: CAND,
    Happening.CANCELLED_BY_THEM: CAND,
}
_ASKED = {
    Happening.CANCELLED_BY_US: Standing(CREQ, Asking.OURS),
    Happening.CANCELLED_BY_THEM: Standing(CREQ, Asking.THEIRS),
}

TRANSITIONS: Mapping[tuple[Standing, Happening], Standing] = {
    **{(Standing(status), what): Standing(then) for status in _OPEN for what, then in _ON_MATCHING.items()},
    (Standing(MACH), Happening.COMPLETED): Standing(MAGR),
    (Standing(MAGR), Happening.FREED): Standing(NMAT),
    (Standing(MACH), Happening.CANCELLED_BY_US): Standing(CAND),
    (Standing(MACH), Happening.CANCELLED_BY_THEM): Standing(CAND),
    **{(Standing(status), what): asked for status in (MAGR, CREJ) for what, asked in _ASKED.items()},
    (Standing(CREQ, Asking.OURS), Happening.CANCELLED_BY_THEM): Standing(CANA),
    (Standing(CREQ, Asking.OURS), Happening.REFUSED_BY_THEM): Standing(CREJ),
    (Standing(CREQ, Asking.THEIRS), Happening.CANCELLED_BY_US): Standing(CANA),
    (Standing(CREQ, Asking.THEIRS), Happening.REFUSED_BY_US): Standing(CREJ),
}
"""Every step there is. What is not listed changes nothing: it is a repetition, or comes from the wrong side."""


def after(standing: Standing, what: Happening) -> Standing:
    """Where a side stands after something happened; the same as before when that changes nothing."""
    return TRANSITIONS.get((standing, what), standing)


def path(standing: Standing, happenings: Iterable[Happening]) -> list[MatchStatus]:
    """The statuses that are passed through, without the first; a step that changes nothing is none."""
    passed: list[MatchStatus] = []
    for what in happenings:
        following = after(standing, what)
        if following != standing:
            passed.append(following.status)
        standing = following
    return passed
