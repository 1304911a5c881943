"""Ages as people write and read them: `8h`, `3d 4h`."""

from __future__ import annotations

import re

from services.commands.failure import BadRequest

_AGE = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def age_ms(text: str, *, option: str) -> int:
    """Milliseconds of an age given to an option. Raises BadRequest when it is none."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise BadRequest(f"{option} was {text!r}; write a number and s, m, h or d, for example 8h")
    return int(found[1]) * _SECONDS[found[2]] * 1000


def age_text(age_ms: int) -> str:
    """An age in its two largest units, as `3d 4h`."""
    seconds = max(0, age_ms) // 1000
    for unit, size, smaller, small in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // small}{smaller}"
    return f"{seconds}s"
