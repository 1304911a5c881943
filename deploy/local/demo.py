"""The sample day in one process, without any server: `make demo`.

The same Faust app as in production, on a log in memory. The last line of standard output is one JSON object with what
came out; the exit code is 1 when that is not what the sample day promises.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from deploy.local import day
from deploy.local.quiet import Progress, Stalled, await_quiet
from deploy.local.screen import Screen, say
from services.adapters.memory_log import MemoryLog
from services.adapters.topic_codec import FormatCodec
from services.commands import logs
from services.commands.failure import EXIT_INTERRUPTED, EXIT_TROUBLE, EXIT_USAGE, CommandFailed
from services.commands.shown import json_line
from services.commands.summary import Summary, summarise, table
from services.engine.app import App
from services.engine.log import LogError, TopicPartition
from services.pipeline import make_codec, make_worker, topic_counts
from services.settings import Settings, SettingsError, load_settings

SETTLE_SECONDS = 2.5
"""The log is in this process: a tick of one second and a reading of reference data of a quarter are surely over."""


class WorkerCrashed(Exception):
    """The worker in this process has ended by trouble."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the day; the exit code for the shell."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Run the sample day in this process, without a server."
    )
    parser.add_argument("--data", type=Path, default=day.DATA, help="the day to run")
    data: Path = parser.parse_args(arguments).data
    logs.configure("error")
    began = time.monotonic()
    try:
        load_settings(os.environ)  # none matters here, but a misspelt one is told wherever it is met
        summary = run_day(MemoryLog(topic_counts()), make_codec(), data)
    except (LogError, CommandFailed, WorkerCrashed, Stalled, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_TROUBLE
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    say(f"\n{table(summary)}\n\n{time.monotonic() - began:.1f} s in all")
    wrong = day.differences(summary, day.promised(data))
    if wrong:
        say("NOT as the sample day promises: " + "; ".join(wrong))
    print(json_line(day.outcome(summary)))
    return EXIT_TROUBLE if wrong else 0


def run_day(log: MemoryLog, codec: FormatCodec, data: Path = day.DATA) -> Summary:
    """Process a whole day on a log in memory with a worker in this thread.

    Raises WorkerCrashed, Stalled, or BadRequest for files that are missing or wrong.
    """
    with tempfile.TemporaryDirectory(prefix="posttrade-demo-") as scratch:
        return uvloop.run(_run_day(log, codec, data, scratch))


async def _run_day(log: MemoryLog, codec: FormatCodec, data: Path, scratch: str) -> Summary:
    sample = day.SampleDay(log, codec, data)
    sample.send_reference(sample.day, say)
    settings = msgspec.structs.replace(Settings(), data_dir=scratch)
    app = make_worker(settings, log, codec=codec, web_enabled=False)
    loop = asyncio.get_running_loop()
    try:
        await app.start()
        return await loop.run_in_executor(None, _drive, app, log, codec, sample)
    finally:
        await app.stop()


def _drive(app: App, log: MemoryLog, codec: FormatCodec, sample: day.SampleDay) -> Summary:
    """Send the day and wait for what comes of it; on a thread of its own, beside the app's event loop."""

    def check() -> None:
        if app.crash_reason is not None:
            raise WorkerCrashed(f"the worker ended: {app.crash_reason!r}")

    def committed(group: str) -> Mapping[TopicPartition, int]:
        with log.changed:
            return dict(log.group(group).committed)

    progress, screen = Progress(log, day.WATCHED), Screen()
    for phase in (sample.day, sample.late):
        if phase is sample.late:
            sample.send_reference(phase, say)
        say(f"sending {phase.name}")
        sample.send_files(phase, lambda text: say(f"  {text}"))
        await_quiet(
            log, committed, day.PIPELINE, progress, check=check, report=screen.report, settle_seconds=SETTLE_SECONDS
        )
        screen.end()
    return summarise(log, codec)


if __name__ == "__main__":
    sys.exit(main())
