"""Where topics end, how far was read, and whether the counters of the workers agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from services.verification.judge import V5, V9, V10, Judge
from services.verification.model import Place, Report, Waiting, World

Offsets = Mapping[str, Mapping[Place, int]]
"""Next offset of each partition, by service."""


def judge_ends(world: World, judge: Judge, *, is_cut: bool) -> None:
    """No partition ends in an open transaction.

    While work goes on there are always some: then they are only noted, unless the world has waited for them (`is_cut`).
    """
    waiting = 0
    for topic in world.topics():
        stable = world.stable_ends(topic)
        for partition, end in world.high_watermarks(topic).items():
            reached = stable.get(partition, 0) >= end
            waiting += not reached
            if world.settled or is_cut:
                # Where it begins says which one it is; the end moves on while others write.
                told = (f"holds an open transaction from {stable.get(partition, 0)} to", end)
                judge.check(V5, reached, f"{topic}[{partition}]", *told)
    if not (world.settled or is_cut):
        judge.leave_out(V5, f"work goes on, so transactions may be open: {waiting} partitions have one")


def judge_lag(world: World, judge: Judge, in_flight: Mapping[str, int], read: Mapping[str, int]) -> None:
    """Once all should be done, no input lies behind a committed offset."""
    for service, count in read.items():
        lag = in_flight.get(service, 0)
        if world.settled:
            judge.check(V10, lag == 0, service, "has not read", lag, "of", count + lag, "records")
    if not world.settled:
        judge.leave_out(V10, f"work goes on; {sum(in_flight.values())} records are still to be read")


def judge_standstill(
    report: Report, waiting: Iterable[Waiting], before: Offsets, after: Offsets, *, seconds: float
) -> Report:
    """Add to V10: a service with input that waited moved an offset within `seconds`, and none went back.

    `before` and `after` hold what each service had committed. Records that came later than `before` do not count.
    """
    breaks, checked = [], 0
    for service, found in after.items():
        lost = sorted(place for place, offset in before[service].items() if found.get(place, -1) < offset)
        checked += len(before[service])
        breaks += [f"{service} went back in {topic}[{number}]" for topic, number in lost]
    for one in waiting:
        checked += 1
        if not has_moved(before[one.service], after[one.service]):
            breaks.append(
                f"{one.service} moved no offset for {seconds:g} s while input waits in {one.topic} ({one.count}, "
                f"the oldest since {one.since}): see whether its workers run and are ready"
            )
    return Report(
        tuple(
            replace(
                finding,
                checked=finding.checked + checked,
                breaks=(*finding.breaks, *breaks),
                identities=(*finding.identities, *breaks),
                break_count=finding.break_count + len(breaks),
                judged=True,
            )
            if finding.invariant == V10
            else finding
            for finding in report.findings
        ),
        report.waiting,
    )


def has_moved(before: Mapping[Place, int], after: Mapping[Place, int]) -> bool:
    """Whether a service has gone on in any of its partitions."""
    return any(offset > before.get(place, 0) for place, offset in after.items())


def judge_counters(
    world: World, judge: Judge, produced: Counter[tuple[str, str]], opened: Counter[tuple[str, str]],
    letters: Counter[tuple[str, str]],
) -> None:  # fmt: skip
    """Each counter is the number of records on its topic."""
    found = world.metrics()
    if found is None:
        judge.leave_out(
            V9, "the counters of the workers are not known here: they die with their worker, and nobody keeps them"
        )
        return
    for name, labels, counts in (
        ("records_produced", ("service", "topic"), produced),
        ("exceptions_opened", ("service", "reason"), opened),
        ("dead_letters", ("service", "error_class"), letters),
    ):
        expected = {_series(name, labels, values): count for values, count in counts.items()}
        there = {series for series in found if series.startswith(f"posttrade_{name}_total{{")}
        for series in sorted(there | expected.keys()):
            counted, written = found.get(series, 0), expected.get(series, 0)
            judge.check(V9, counted == written, series, "is", f"{counted:g},", "on the topics are", written)


def _series(name: str, labels: tuple[str, str], values: tuple[str, str]) -> str:
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(zip(labels, values, strict=True)))
    return f"posttrade_{name}_total{{{shown}}}"
