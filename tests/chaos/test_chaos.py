"""The short run, as `make chaos` does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.plan import BROKER_STARTS, PAUSES, Failpoint, quotas
from tests.chaos.report import ACCOUNTED, REPAIRED

MINUTES = 3
SEED = 20260302
SECONDS_MAX = 15 * 60


@pytest.mark.long
def test_nothing_is_lost_or_doubled_whatever_is_killed_when(tmp_path: Path) -> None:
    """The promise of the whole service, on a real broker and with processes that really die."""
    data = tmp_path / "chaos"
    command = [sys.executable, "-m", "tests.chaos", "--minutes", str(MINUTES), "--seed", str(SEED), "--keep", str(data)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS_MAX)

    assert run.stdout.splitlines()[-1:] == [ACCOUNTED], run.stdout + run.stderr
    assert run.returncode == 0
    summary = json.loads((data / "summary.json").read_text(encoding="utf-8"))
    least = quotas(MINUTES)
    assert summary["kills"] >= least.kills
    assert sum(summary["faults"].get(kind, 0) for kind in PAUSES) >= least.pauses
    assert sum(summary["faults"].get(kind, 0) for kind in BROKER_STARTS) >= least.broker_starts
    assert summary["rebalances"] >= least.rebalances
    assert set(Failpoint) <= summary["failpoints"].keys()
    assert summary["takeover_seconds"], "the time of a takeover was measured"
    assert set(REPAIRED) <= summary["findings"]["repairs"].keys()
    instructions = summary["findings"]["topics"]["settlement.instructions"]
    assert instructions > summary["sent"]["confirmation"] / 2, "most of what was confirmed was instructed"
