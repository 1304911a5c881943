"""On what it was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from typing import Any

from deploy.local.kafka_jars import REPOSITORY, kafka_version


def machine() -> dict[str, Any]:
    """Date, commit and machine, as the last line of the bench and the record of the ratios have them."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "kafka": kafka_version(),
        "confluent_kafka": version("confluent-kafka"),
        "faust": version("faust-streaming"),
    }


def commit() -> str:
    """The commit that is checked out, marked when files differ from it."""
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
