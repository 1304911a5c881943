"""`make bench`: pass-through, exactly once, ours beside stock Faust and the bare loop; a table and one line of JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.kafka_broker import LocalKafka
from tests.bench.workload import await_delivery, fill, make_topics

ROUNDS = 3
RECORDS = {"engine": 600_000, "bare": 600_000, "faust": 20_000, "faust-eos": 20_000}
"""Enough that each runs for several seconds; rates are compared, not durations."""
WARM_UP = {"engine": 50_000, "bare": 50_000, "faust": 2_000, "faust-eos": 2_000}
"""The clock starts when these have arrived, so that start-up and joining the group are not measured."""
TARGET_RATIO = 30.0
"""What the engine has to reach over the faster of the two stock Fausts."""


@dataclass(frozen=True)
class Run:
    """One measured run."""

    peer: str
    records_per_second: float
    delivered: int


def measure(servers: str, peer: str, number: int, log_dir: Path) -> Run:
    """Start a peer on a filled topic, wait until everything is copied, stop it."""
    count, warm_up = RECORDS[peer], WARM_UP[peer]
    source, target = f"bench-{peer}-{number}-in", f"bench-{peer}-{number}-out"
    make_topics(servers, source, target)
    fill(servers, source, count)
    with (log_dir / f"{peer}-{number}.log").open("wb") as log_file:
        command = [sys.executable, "-m", "tests.bench.peers", peer, servers, source, target]
        process = subprocess.Popen(command, stdout=log_file, stderr=subprocess.STDOUT)
        try:
            delivery = await_delivery(servers, target, count=count, warm_up=warm_up, process=process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return Run(peer, (count - warm_up) / max(delivery.seconds, 1e-3), delivery.records)


def main() -> int:
    """Run every peer in turn, several times over, and compare medians."""
    console = Console()
    log_dir = Path(".local/bench")
    log_dir.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[Run]] = {peer: [] for peer in RECORDS}
    with LocalKafka() as broker:
        make_topics(broker.bootstrap_servers, "state.pass-through", compact=True)
        make_topics(broker.bootstrap_servers, "dead-letters")
        for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
            for peer in RECORDS:
                run = measure(broker.bootstrap_servers, peer, number, log_dir)
                runs[peer].append(run)
                console.print(f"round {number + 1}: {peer:10} {run.records_per_second:12,.0f} records/s")
    medians = {peer: sorted(run.records_per_second for run in found)[len(found) // 2] for peer, found in runs.items()}
    best_faust = max(medians["faust"], medians["faust-eos"])
    ratio = medians["engine"] / best_faust
    table = Table(title="pass-through, 111-byte records, one process, broker on the same machine")
    for column in ("peer", "guarantee", "records/s, median", "min", "max", "times stock Faust", "share of bare loop"):
        table.add_column(column, justify="left" if column in ("peer", "guarantee") else "right")
    for peer, median in medians.items():
        rates = [run.records_per_second for run in runs[peer]]
        guarantee = "at least once" if peer == "faust" else "exactly once"
        table.add_row(
            peer, guarantee, f"{median:,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}",
            f"{median / best_faust:.1f}", f"{median / medians['bare']:.2f}",
        )  # fmt: skip
    console.print(table)
    doubled = sum(run.delivered - RECORDS["engine"] for run in runs["engine"])
    met = ratio >= TARGET_RATIO and doubled == 0
    print(
        json.dumps(
            {
                "date": time.strftime("%Y-%m-%d"),
                "records_per_second": {peer: round(median) for peer, median in medians.items()},
                "engine_times_stock_faust": round(ratio, 1),
                "engine_share_of_bare_loop": round(medians["engine"] / medians["bare"], 2),
                "engine_records_doubled": doubled,
                "target_ratio": TARGET_RATIO,
                "target_met": met,
            }
        )
    )
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
