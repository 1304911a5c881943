"""What is told about runs: one line while they go on, and everything about one that failed."""

from __future__ import annotations

from collections import Counter

from tests.sim.run import Outcome

TRACE_LINES = 100


class Totals:
    """Sums over all runs so far."""

    def __init__(self) -> None:
        self.runs = 0
        self.steps = 0
        self.calls = 0
        self.seconds = 0.0
        self.restarts = 0
        self.faults: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.runs += 1
        self.steps += outcome.steps
        self.calls += outcome.calls
        self.seconds += outcome.seconds
        self.restarts += outcome.restarts
        self.faults += outcome.faults

    def line(self) -> str:
        """In one line."""
        deaths = self.faults["crash"] + self.faults["kill"]
        others = sum(self.faults.values()) - deaths
        return (
            f"{self.runs:,} seeds, {self.steps:,} turns, {self.calls:,} calls, {self.seconds / 3600:.1f} h simulated, "
            f"{deaths:,} crashes, {others:,} other faults"
        )

    def table(self) -> str:
        """Every kind of fault with its count."""
        rows = [f"  {count:>9,}  {name}" for name, count in sorted(self.faults.items())]
        return "\n".join([self.line(), *rows])


def failure(outcome: Outcome) -> str:
    """Everything about a run that failed, its replay in the last line."""
    options = outcome.options
    again = f"make sim SEED={options.seed}" + (f" CONTROL={options.control}" if options.control else "")
    return "\n".join(
        [
            f"seed {options.seed} FAILED",
            "options:",
            *(f"  {line}" for line in options.lines()),
            f"the last {min(TRACE_LINES, len(outcome.trace))} of {len(outcome.trace)} lines of the trace:",
            *(f"  {line}" for line in outcome.trace[-TRACE_LINES:]),
            "the auditor's report:",
            *(f"  {line}" for line in (outcome.report or "the run was cut short").splitlines()),
            "what is wrong:",
            *(f"  {told}" for told in outcome.breaks),
            f"the same run again: {again}",
        ]
    )
