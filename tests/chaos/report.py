"""What a run says: a line for each fault while it goes on, tables at its end, and the same as JSON beside the data."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from deploy.local.kafka_jars import REPOSITORY
from services.commands.text import columns
from services.engine.repair import RepairOutcome
from tests.chaos.faults import TAKEOVER_SECONDS_MAX, UNASSIGNED_SECONDS_MAX, Tally
from tests.chaos.fleet import EXPECTED_ENDS
from tests.chaos.plan import BROKER_STARTS, PAUSES, Failpoint, Quotas
from tests.chaos.poison import ENDS_PROCESS, EXIT_CODE, KINDS

REPAIRED = (RepairOutcome.REPLAYED, RepairOutcome.DISCARDED, RepairOutcome.ALREADY_RESOLVED)
"""What has to become of some repairs: processed, given up, and asked for once too often."""
ACCOUNTED = "ALL TRADES ACCOUNTED FOR"


class Progress:
    """One line for each thing that happens: on the terminal and in the faults' log."""

    def __init__(self, path: Path) -> None:
        """Begin the log."""
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line with the time since the start."""
        seconds = time.monotonic() - self._began
        line = f"{int(seconds // 60):3d}:{seconds % 60:04.1f}  {text}"
        self._file.write(line + "\n")
        say(line)

    def close(self) -> None:
        """Close the log."""
        self._file.close()


def commit_id() -> str:
    """The commit that is tried, with a `+` when files differ from it."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
        cwd=REPOSITORY, check=False, capture_output=True, text=True,
    )  # fmt: skip
    return answer.stdout.strip() or "unknown"


def shortcomings(summary: Mapping[str, Any], findings: Mapping[str, Any], quotas: Quotas) -> list[str]:
    """What the run did not do that it must do to count, and what of the workers was not as it must be."""
    faults, sent = summary["faults"], summary["sent"]
    done = {
        "kills": (summary["kills"], quotas.kills),
        "pauses": (sum(faults.get(kind, 0) for kind in PAUSES), quotas.pauses),
        "broker kills and restarts": (sum(faults.get(kind, 0) for kind in BROKER_STARTS), quotas.broker_starts),
        "rebalances": (summary["rebalances"], quotas.rebalances),
    }
    found = [
        f"{name} were {count}, expected at least {least}" for name, (count, least) in done.items() if count < least
    ]
    found += [f"failpoint {name} was never reached" for name in Failpoint if not summary["failpoints"].get(name)]
    kinds = [kind for kind in (*KINDS, ENDS_PROCESS) if not sent.get(f"poison {kind}")]
    found += [f"no poison of the kind '{kind}' was sent" for kind in kinds]
    found += [f"no repair ended as {outcome}" for outcome in REPAIRED if not findings["repairs"].get(outcome)]
    return found


def troubles(summary: Mapping[str, Any]) -> list[str]:
    """What went wrong with the workers, whatever the topics say."""
    found = list(summary["problems"])
    slowest = max(summary["takeover_seconds"], default=0.0)
    if slowest > TAKEOVER_SECONDS_MAX:
        found.append(f"a takeover took {slowest:.1f} s, expected at most {TAKEOVER_SECONDS_MAX:.0f} s")
    # A record that ends the process may be met on the way out.
    unclean = {code: count for code, count in summary["clean_stops"].items() if int(code) not in (0, EXIT_CODE)}
    if unclean:
        found.append(f"workers that were asked to stop ended with {unclean}, expected 0")
    return found


def takeovers(seconds: list[float]) -> str:
    """Median and maximum."""
    if not seconds:
        return "none was measured"
    return f"{len(seconds)} measured, p50 {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s"


def tables(summary: Mapping[str, Any], findings: Mapping[str, Any]) -> str:
    """All that is known at the end, but for the last line."""
    faults = [(name, f"{count:,}") for name, count in summary["fault_details"].items()]
    sent = [(name, f"{count:,}") for name, count in summary["sent"].items()]
    letters = [(name, f"{count:,}") for name, count in findings["dead_letters"].items()]
    repairs = [(name, f"{count:,}") for name, count in findings["repairs"].items()]
    rows = [
        (row["invariant"], row["title"], f"{row['checked']:,}", f"{row['break_count']:,}" if row["judged"] else "-")
        for row in findings["invariants"]
    ]
    rows += [("", row["title"], f"{row['checked']:,}", f"{row['break_count']:,}") for row in findings["witnesses"]]
    return "\n\n".join(
        [
            columns(("fault", "done"), faults, right=[1]),
            columns(("sent", "records"), sent, right=[1]),
            columns(("dead letters", "records"), letters, right=[1]),
            columns(("repairs", "records"), repairs, right=[1]),
            columns(("", "invariant", "checked", "breaks"), rows, right=[2, 3]),
            _facts(summary),
        ]
    )


def _facts(summary: Mapping[str, Any]) -> str:
    lines = [
        f"kills {summary['kills']}, rebalances of each group at least {summary['rebalances']}, "
        f"transactions {summary['commits']:,}",
        f"takeovers: {takeovers(summary['takeover_seconds'])}",
        f"groups of which nobody held a partition for more than {UNASSIGNED_SECONDS_MAX:.0f} s after the broker was "
        f"back: {_unassigned(summary['unassigned'])}",
        f"{summary['snapshots_damaged']} snapshots damaged; {summary['exits']} deaths by records that end the process",
        f"ended unasked and started again, by exit code: {summary['unasked_ends'] or 'none'}; "
        f"replaced by another of their slot: {summary['replaced'] or 'none'}",
        f"{summary['minutes_of_faults']:.1f} min of faults, at rest {summary['drain_seconds']:.0f} s after the last",
        f"seed {summary['seed']}, commit {summary['commit']}",
    ]
    return "\n".join(lines)


def _unassigned(found: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{service} {seconds:.1f} s" for service, seconds in found) or "none"


def tally_facts(tally: Tally) -> dict[str, Any]:
    """The tally of faults as plain values."""
    return {
        "faults": {str(kind): count for kind, count in sorted(tally.done.items())},
        "fault_details": dict(sorted(tally.details.items())),
        "kills": tally.kills,
        "takeover_seconds": [round(seconds, 2) for seconds in tally.takeover_seconds],
        "unassigned": [(service, round(seconds, 1)) for service, seconds in tally.unassigned],
        "snapshots_damaged": tally.snapshots_damaged,
        "replaced": {str(code): count for code, count in sorted(tally.replaced_exit_codes.items())},
    }


def unexpected(ends: Mapping[int, int]) -> dict[int, int]:
    """Ends by exit codes that the harness does not bring about."""
    return {code: count for code, count in ends.items() if code not in EXPECTED_ENDS}


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """The summary as JSON."""
    path.write_text(json.dumps(summary, indent=2, default=str) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(text + "\n")
