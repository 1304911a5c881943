"""The whole service on this machine, on a real Kafka: what `make run` does once everything is imported.

Starts a broker of its own on .local/run/kafka (or uses the cluster of KAFKA_BOOTSTRAP_SERVERS), creates the topics,
loads reference data, runs a worker, sends the sample day, shows what came out of it, and stays until Ctrl-C. The next
run goes on with the same data: what was sent is not sent again, what was instructed is not instructed again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.local import day
from deploy.local.data_directory import free_port, is_free
from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import LOCAL, REPOSITORY
from deploy.local.quiet import Progress, Stalled, await_quiet
from deploy.local.screen import Screen, say
from deploy.local.tools import LocalServerError
from deploy.local.worker_process import WorkerProcess
from services.adapters.topic_admin import Action
from services.commands import logs
from services.commands.cluster import Cluster
from services.commands.failure import EXIT_INTERRUPTED, EXIT_TROUBLE, EXIT_USAGE, CommandFailed
from services.commands.scan import read_all
from services.commands.summary import Summary, summarise, table
from services.domain.event import SettlementInstruction
from services.engine.log import Log, LogError
from services.settings import Settings, SettingsError, load_settings

RUN = LOCAL / "run"
"""Everything a run leaves: the broker's data, the worker's log. `make clean` removes it."""

_WATCH_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM, or until done; the exit code for the shell."""
    parser = argparse.ArgumentParser(prog="make run", description="Run the whole service on this machine.")
    parser.add_argument("--exit-when-done", action="store_true", help="end when the sample day is processed")
    parser.add_argument("--directory", type=Path, default=RUN, help="where broker data and logs lie")
    parser.add_argument("--data", type=Path, default=day.DATA, help="the day to run")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell that starts us in the background has set it to be ignored
    logs.configure("error")  # what librdkafka has to say of a dying broker is told by our own one line
    try:
        return _run(options.directory, options.data, exit_when_done=options.exit_when_done)
    except LocalServerError as error:
        return _fail(str(error), error.exit_code)
    except SettingsError as error:
        return _fail(str(error), EXIT_USAGE)
    except CommandFailed as error:
        return _fail(str(error), error.exit_code)
    except (LogError, Stalled, OSError) as error:
        return _fail(str(error), EXIT_TROUBLE)
    except KeyboardInterrupt:
        say("stopped before the day was done; the next run goes on from here")
        return EXIT_INTERRUPTED


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(text: str, exit_code: int) -> int:
    print(f"error: {text}", file=sys.stderr)
    return exit_code


def _run(directory: Path, data: Path, *, exit_when_done: bool) -> int:
    stack = ExitStack()
    try:
        return _work(stack, directory, data, exit_when_done=exit_when_done)
    finally:
        # A second Ctrl-C must not cut the cleaning up short; each step of it ends by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.close()


def _lock(stack: ExitStack, directory: Path) -> None:
    """Hold the folder: a second run would take the worker's slot over and mix the logs. Raises LocalServerError."""
    directory.mkdir(parents=True, exist_ok=True)
    holder = stack.enter_context((directory / "run.lock").open("w"))
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LocalServerError(
            f"Another `make run` works in {directory}; stop it first, or send more work to it with `posttrade send`."
        ) from None


def _work(stack: ExitStack, directory: Path, data: Path, *, exit_when_done: bool) -> int:
    _lock(stack, directory)
    environment, broker = _environment(stack, directory)
    cluster = Cluster(environment)
    cluster.admin().reach()
    changes = cluster.admin().apply(cluster.topics)
    refused = [f"{change.name} {change.details}" for change in changes if change.action is Action.REFUSE]
    if refused:
        raise CommandFailed("; ".join(refused))
    say(f"{sum(change.action is Action.CREATE for change in changes)} of {len(cluster.topics)} topics created")
    log = stack.enter_context(cluster.log())
    sample = day.SampleDay(log, cluster.codec, data)
    if sample.found_count:
        say(f"continuing on the data of an earlier run: {sample.found_count:,} records came in before")
    sample.send_reference(sample.day, say)
    web_url = _web_url(cluster.settings)
    worker = stack.enter_context(WorkerProcess(environment, directory / "worker.log", web_url))
    worker.await_ready()
    say(f"the worker is ready, process {worker.id}; sending the day")
    sample.send_files(sample.day, _say_indented)

    def check() -> None:
        worker.check()
        if broker is not None and not broker.is_running:
            raise LocalServerError(f"Kafka has ended by itself; see {broker.log_file}.")

    _process(stack, cluster, log, sample, check)
    summary = summarise(log, cluster.codec)
    say(f"\n{table(summary)}\n")
    kept = _judge(sample, summary)
    if exit_when_done:
        return 0 if kept else EXIT_TROUBLE
    say(_where_to_look(cluster, log, worker))
    return _stay(check)


def _stay(check: Callable[[], None]) -> int:
    """Watch until Ctrl-C or SIGTERM, which is how a finished run is meant to end."""
    try:
        while True:
            check()
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        say("stopping")
        return 0


def _environment(stack: ExitStack, directory: Path) -> tuple[dict[str, str], LocalKafka | None]:
    """The variables of the worker, with the address of the cluster; and the broker, if it is our own."""
    environment = dict(os.environ)
    environment.setdefault("POSTTRADE_DATA_DIR", str(directory / "worker"))
    settings = load_settings(environment)
    broker = None
    if settings.bootstrap_servers:
        say(f"using the Kafka cluster at {settings.bootstrap_servers}")
    else:
        say("starting Kafka")
        broker = LocalKafka(directory / "kafka")
        stack.callback(broker.stop)
        broker.start()
        environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
    if not is_free(settings.web_port + settings.worker_slot):  # asked late: the worker is to find it as we did
        environment["POSTTRADE_WEB_PORT"] = str(free_port() - settings.worker_slot)
    return environment, broker


def _web_url(settings: Settings) -> str:
    return f"http://{settings.web_host}:{settings.web_port + settings.worker_slot}"


def _process(stack: ExitStack, cluster: Cluster, log: Log, sample: day.SampleDay, check: Callable[[], None]) -> None:
    """Wait until the day is processed, send what arrives late, and wait again."""
    progress = Progress(log, day.WATCHED)
    stack.callback(progress.close)
    screen = Screen()
    committed = cluster.admin().committed
    await_quiet(log, committed, day.PIPELINE, progress, check=check, report=screen.report)
    screen.end()
    say("sending what arrives late")
    sample.send_reference(sample.late, _say_indented)
    sample.send_files(sample.late, _say_indented)
    await_quiet(log, committed, day.PIPELINE, progress, check=check, report=screen.report)
    screen.end()


def _say_indented(text: str) -> None:
    say(f"  {text}")


def _judge(sample: day.SampleDay, summary: Summary) -> bool:
    """Say whether what came out is what the sample day promises."""
    if sample.strangers:
        say(f"not compared with the sample day: {sample.strangers:,} other records came in as well")
        return True
    wrong = day.differences(summary, sample.promised)
    if wrong:
        say("NOT as the sample day promises: " + "; ".join(wrong))
        return False
    late = day.overdue(summary)
    if late:
        say(f"{late:,} more exceptions came by the clock: nobody sent what these trades wait for")
    say("as promised: every execution ended once, as an instruction or as an exception that can be seen")
    return True


def _where_to_look(cluster: Cluster, log: Log, worker: WorkerProcess) -> str:
    command = os.path.relpath(Path(sys.executable).with_name("posttrade"), REPOSITORY)
    instructions = (
        cluster.codec.decode(record.topic, record.value) for record in read_all(log, ["settlement.instructions"])
    )
    trade_id = next((i.trade_ids[0] for i in instructions if isinstance(i, SettlementInstruction)), "ID")
    lines = [
        ("cluster", f"export KAFKA_BOOTSTRAP_SERVERS={cluster.settings.bootstrap_servers}"),
        ("metrics", f"{worker.web_url}/metrics   (also /livez, /readyz)"),
        ("worker's log", str(worker.log_file)),
        ("one trade", f"{command} trade {trade_id}"),
        ("a topic", f"{command} tail settlement.instructions --from-beginning"),
        ("the numbers", f"{command} summary"),
        ("send more", f"{command} send executions FILE   (also fix, allocations, confirmations)"),
    ]
    shown = "\n".join(f"  {name:<13} {text}" for name, text in lines)
    return f"The service runs. Ctrl-C stops it; the next run goes on with the same data.\n{shown}"
