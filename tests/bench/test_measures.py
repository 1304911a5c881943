"""The measures of our own engine: each runs, at a scale at which it means nothing, and what it tells adds up.

A measure raises by itself unless every trade was instructed exactly once and nothing was put aside; what is asked here
is that the figures are those of something that happened.
"""

from __future__ import annotations

import importlib
import io
import itertools
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from rich.console import Console

from services.engine.state import Tables
from services.pipeline import SERVICES, make_codec
from services.settings import Settings
from tests.bench.finding import Context, Finding
from tests.bench.measures import filling
from tests.bench.measures.latency import level_of, trades_of
from tests.bench.measures.open_loop import Course
from tests.bench.measures.process import cpu_time, listening_process, memory, parse_memory, parse_stat
from tests.bench.measures.schedule import Schedule, percentile
from tests.bench.measures.stand import standing

SCALE = 0.002


def _context(servers: str, folder: Path, scale: float = SCALE) -> Context:
    return Context(servers=servers, folder=folder, console=Console(file=io.StringIO()), scale=scale)


@pytest.fixture
def context(kafka: str, tmp_path: Path) -> Context:
    return _context(kafka, tmp_path)


def _measured(name: str, context: Context) -> tuple[Finding, Any]:
    finding: Finding = importlib.import_module(f"tests.bench.measures.{name}").measure(context)
    assert all(len(row) == len(finding.columns) for row in finding.rows)
    assert finding.to_table().row_count == len(finding.rows)
    return finding, finding.figures


@pytest.mark.bench
def test_latency_is_told_for_every_level_and_its_percentiles_are_in_order(context: Context) -> None:
    """A latency that lost the slow trades would look best when it is worst."""
    finding, figures = _measured("latency", context)

    assert figures["capacity_trades_per_second"] > 0
    assert [level["share"] for level in figures["levels"]] == [0.25, 0.5, 0.8]
    for level in figures["levels"]:
        for kind in ("from_schedule_ms", "from_acknowledgement_ms"):
            assert 0 < level[kind]["p50"] <= level[kind]["p99"] <= level[kind]["p99.9"]
        assert level["from_schedule_ms"]["p50"] >= level["from_acknowledgement_ms"]["p50"]
    (verdict,) = finding.verdicts
    assert verdict.value == figures["levels"][1]["from_schedule_ms"]["p99"]


@pytest.mark.bench
def test_the_parts_of_the_cost_are_no_more_than_the_whole(context: Context) -> None:
    """Parts that are counted twice would name the wrong thing to make faster."""
    _, figures = _measured("cost", context)

    spent = figures["cpu_seconds_per_1000_trades"]
    assert list(spent["services"]) == [service.name for service in SERVICES]
    assert spent["services"]["settlement"]["rendering"] > 0
    assert spent["all services"] == pytest.approx(sum(sum(parts.values()) for parts in spent["services"].values()))
    threads = [
        spent[f"worker: {name}"] for name in ("Python main thread", "other Python threads", "threads of the client")
    ]
    assert min(threads) >= 0
    assert spent["worker process"] > 0
    assert sum(threads) == pytest.approx(spent["worker process"])
    assert spent["broker"] > 0


@pytest.mark.bench
def test_memory_is_that_of_a_worker_with_the_state_that_was_asked_for(context: Context) -> None:
    _, figures = _measured("memory", context)

    assert 20 < figures["at_rest_mib"] <= figures["under_load_highest_mib"]
    assert figures["state_rows_after_load"] > 100, "the trades of the load left fewer rows than one each"
    assert figures["rows_per_item"] == {"open blocks": 3, "unconfirmed allocations": 3, "seen executions": 1}


@pytest.mark.bench
def test_everything_that_was_written_is_rebuilt(context: Context) -> None:
    _, figures = _measured("rebuild", context)

    assert [(one["service"], one["times_written"]) for one in figures["partitions"]] == [
        ("capture", 1), ("allocation", 1), ("confirmation", 1), ("capture", 3),
    ]  # fmt: skip
    assert [one["rows"] for one in figures["partitions"]] == [2_000, 601, 601, 600]
    assert all(one["cold"] > 0 and one["with_snapshot"] > 0 for one in figures["partitions"])


@pytest.mark.bench
def test_two_workers_share_what_one_does(context: Context) -> None:
    _, figures = _measured("two_workers", context)

    for found in ("trades_per_second", "worker_cpu_seconds_per_1000_trades", "broker_cpu_seconds_per_1000_trades"):
        assert sorted(figures[found]) == ["1", "2"]
        assert min(figures[found].values()) > 0


@pytest.mark.bench
def test_open_items_are_there_while_the_same_trades_are_measured(context: Context) -> None:
    """State that the worker had not taken over would cost nothing."""
    _, figures = _measured("open_items", context)

    few, many = figures["runs"]
    assert (few["open_items"], many["open_items"]) == (100, 2_000)
    assert (few["rows"], many["rows"]) == (3 * 100 + 16, 3 * 2_000 + 16)
    assert figures["ratio"] == many["trades_per_second"] / few["trades_per_second"] > 0


@pytest.mark.bench
def test_what_waited_and_what_came_meanwhile_is_caught_up(context: Context) -> None:
    _, figures = _measured("catch_up", context)

    assert figures["waiting"] >= 100
    assert figures["instructed"] >= figures["waiting"] - figures["input_per_second"]
    assert 0 < figures["first_message_seconds"] <= figures["caught_up_seconds"]
    assert figures["highest_mib"] > 20


@pytest.mark.bench
def test_a_message_too_many_ends_the_measure(context: Context) -> None:
    """A rate of trades that were instructed twice would be a rate of nothing."""
    with standing(context, "doubled") as stand:
        stand.start_worker()
        stand.burst(20)
        stand.check()
        producer = Producer({"bootstrap.servers": context.servers})
        producer.produce(f"{stand.prefix}settlement.messages", b"<again/>", b"SI-1", partition=0)
        producer.flush(10)
        with pytest.raises(RuntimeError, match="20 trades were sent and 21 instructed"):
            stand.check()


# --- the parts that need no server -----------------------------------------------------------------------------------


def test_a_percentile_is_a_value_that_was_found() -> None:
    """Nearest rank: no average of two values, of which the one may be the worst minute of the day."""
    values = [float(number) for number in range(1, 1001)]
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500.0, 990.0, 999.0, 1000.0]
    assert [percentile([7.0], share) for share in (0.001, 0.5, 0.999)] == [7.0, 7.0, 7.0]


def test_a_late_sender_owes_what_was_due_and_every_trade_keeps_its_time() -> None:
    """A schedule that waits for its sender counts a standstill once, instead of for every trade that fell into it."""
    schedule = Schedule(began=100.0, rate=50.0)
    assert [schedule.due(now) for now in (99.9, 100.0, 100.019, 100.02, 101.0, 110.0)] == [0, 1, 1, 2, 51, 501]
    assert all(schedule.due(schedule.due_at(number)) == number + 1 for number in range(10_000))


def test_latency_is_counted_from_the_schedule_and_the_beginning_is_left_out() -> None:
    orders = [b"O%d" % number for number in range(10)]
    course = Course(
        due_at={order: float(number) for number, order in enumerate(orders)},
        acknowledged_at={order: number + 2.0 for number, order in enumerate(orders)},
        seen_at={b"SI" + order: number + 3.0 + (number == 9) for number, order in enumerate(orders)},
    )
    level = level_of(0.5, 1.0, course, {b"SI" + order: order for order in orders})

    assert level.scheduled == [3_000.0] * 8 + [4_000.0]
    assert level.acknowledged == [1_000.0] * 8 + [2_000.0]


def test_a_level_whose_output_is_not_its_input_is_no_level() -> None:
    course = Course(due_at={b"O1": 0.0}, acknowledged_at={b"O1": 0.0}, seen_at={})
    with pytest.raises(AssertionError, match="not what was sent"):
        level_of(0.5, 1.0, course, {})


@pytest.mark.parametrize(("rate", "count"), [(100.0, 7_000), (500.0, 20_000), (2_000.0, 60_000)])
def test_a_level_is_long_enough_for_the_highest_percentile_and_ends(rate: float, count: int, tmp_path: Path) -> None:
    assert trades_of(_context("", tmp_path, scale=1.0), rate) == count


def test_names_of_threads_may_hold_anything() -> None:
    """A name with a bracket in it must not move the fields behind it."""
    ticks = os.sysconf("SC_CLK_TCK")
    line = f"12 (rdk:br (x) 1) S 1 1 1 0 -1 4194560 5 0 0 0 {3 * ticks} {2 * ticks} 0 0 20 0 5 0 100 1 1"
    assert parse_stat(line) == ("rdk:br (x) 1", 5.0)


def test_processor_time_of_a_thread_counts_for_the_process_and_not_for_the_main_thread() -> None:
    before = cpu_time(os.getpid())

    def work() -> None:
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    spent = cpu_time(os.getpid()) - before

    assert spent.process >= 0.25
    assert spent.main_thread < spent.process


def test_memory_is_told_in_mib() -> None:
    found = parse_memory("Name:\tpython\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n")
    assert (found.now, found.highest) == (2.0, 4.0)
    assert 0 < memory(os.getpid()).now <= memory(os.getpid()).highest


def test_the_process_behind_a_port_is_found() -> None:
    """What the broker uses is asked of its process, of which a measure knows the port alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listening_process(server.getsockname()[1]) == os.getpid()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(LookupError, match="no process"):
            listening_process(unused.getsockname()[1])


@pytest.mark.parametrize("make", [filling.open_blocks, filling.unconfirmed_allocations, filling.seen_executions])
def test_rows_that_are_put_into_a_changelog_are_those_the_service_reads(make: Any) -> None:
    """Each item is one of its own, in all of its rows; a restore takes every row, and none replaces another."""
    pattern = make(make_codec())
    stage = next(one for one in SERVICES if one.name == pattern.service).make_stage(Settings())
    tables = {number: Tables(stage.state_types) for number in range(4)}
    records = list(filling.records(pattern, 500, partitions=4))
    for record in records:
        assert record.partition is not None
        assert record.key is not None
        tables[record.partition].restore(record.key, record.value)

    shared = 4 * len(pattern.shared_rows)
    assert sum(table.count() for table in tables.values()) == 500 * len(pattern.rows) + shared == len(records) - 4
    assert min(table.count() for table in tables.values()) > 100, "the items lie in few partitions"
    first, second = ([value for _, value in pattern.item(number)[1]] for number in (1, 2))
    own = {old for old, _ in pattern.ids}
    assert not any(old in value for old, value in itertools.product(own, first + second))
