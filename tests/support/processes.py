"""Waiting for processes that are not our children, without asking again and again."""

from __future__ import annotations

import os
import select


def await_end(process_id: int, seconds_max: float) -> bool:
    """Wait until this process has ended; False when it is still there after `seconds_max`.

    A process that has ended but was not collected by its parent counts as ended.
    """
    try:
        handle = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([handle], [], [], seconds_max)
    finally:
        os.close(handle)
    return bool(ready)
