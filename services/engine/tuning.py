"""What the interpreter is told before a worker starts."""

from __future__ import annotations

import gc

_YOUNG_OBJECTS_MAX = 50_000


def tune_garbage_collector() -> None:
    """Collect cycles more rarely, and never look at what was there at the start.

    Records cannot form cycles and are not tracked (`services.domain.record`), but a batch makes thousands of tuples and
    dictionaries that are. With the default threshold of 700 each batch is scanned several times over, to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS_MAX, 20, 50)
