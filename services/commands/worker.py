"""`posttrade worker`: the Faust worker, from its settings to its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any

import faust
import msgspec
import structlog
import typer
import uvloop

from services.commands import logs
from services.commands.cluster import Cluster
from services.commands.failure import EXIT_FENCED, EXIT_TROUBLE, BadRequest, Ended
from services.commands.text import nearest
from services.engine.app import App
from services.engine.log import Fenced, LogError
from services.engine.tuning import tune_garbage_collector
from services.pipeline import SERVICE_NAMES, make_worker
from services.settings import SettingsError

log_event = structlog.get_logger("posttrade.worker")

STOP_SECONDS_MAX = 25.0
"""So long after the signal, or after what crashed the worker, the process ends hard, below the 30 s that Kubernetes
grants. Nothing is lost: what was not committed is processed again."""


def worker(
    context: typer.Context,
    services: Annotated[
        str | None,
        typer.Option(
            "--services",
            metavar="A,B",
            help=f"Services to host, of {', '.join(SERVICE_NAMES)}; all by default.",
            show_default=False,
        ),
    ] = None,
    slot: Annotated[
        int | None,
        typer.Option(
            "--slot",
            metavar="N",
            min=0,
            max=999,
            help="Number of this worker, instead of POSTTRADE_WORKER_SLOT.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    Start as many as you like, each with a slot number of its own: they share the partitions among themselves. A second
    worker with the same slot takes over from the first, which ends with exit code 3.

    Serves /metrics, /livez and /readyz on POSTTRADE_WEB_HOST and POSTTRADE_WEB_PORT + slot. Logs JSON lines to standard
    error. Exit codes: 0 stopped as asked, 1 ended by trouble, 2 wrong settings, 3 another worker took over the slot.
    """
    cluster: Cluster = context.obj
    signal.signal(signal.SIGTERM, _end_at_once)  # until the event loop has its own handlers there is nothing to finish
    names = _service_names(services)
    settings = cluster.settings if slot is None else msgspec.structs.replace(cluster.settings, worker_slot=slot)
    with cluster.log() as log:
        logs.configure(settings.log_level)
        app = make_worker(settings, log, services=names, codec=cluster.codec)
        log_event.info(
            "worker starts", services=names, slot=settings.worker_slot, web=f"{app.conf.web_host}:{app.conf.web_port}"
        )
        limit = EndLimit()
        code = run_worker(app, limit)
        limit.start(code)
    if code:
        raise Ended(code)


def _end_at_once(_number: int, _frame: Any) -> None:
    sys.exit(0)


def _service_names(services: str | None) -> tuple[str, ...]:
    if services is None:
        return SERVICE_NAMES
    names = tuple(name.strip() for name in services.split(","))
    for name in names:
        if name not in SERVICE_NAMES:
            raise BadRequest(
                f"service {name or '(empty)'} is unknown.{nearest(name, SERVICE_NAMES)} "
                f"Known are: {', '.join(SERVICE_NAMES)}"
            )
    return names


class Worker(faust.Worker):
    """A Faust worker that prints nothing, and whose every stop has an end."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop, limit: EndLimit) -> None:
        """Logging and output are ours; Faust's spinner and redirections stay off."""
        super().__init__(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self._limit = limit

    def _install_signal_handlers_unix(self) -> None:
        # Not Faust's own set: that opens a debugger on SIGUSR2.
        self.loop.add_signal_handler(signal.SIGINT, self._on_sigint)
        self.loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)

    def _on_sigint(self) -> None:
        self._limit.start(0)
        super()._on_sigint()

    def _on_sigterm(self) -> None:
        self._limit.start(0)
        super()._on_sigterm()

    def _crash(self, reason: BaseException) -> None:
        self._limit.start(exit_code_of(reason))
        super()._crash(reason)


def _end_hard(code: int) -> None:
    log_event.error("the stop took too long and is ended hard; what was not committed is processed again")
    sys.stderr.flush()
    os._exit(code or EXIT_TROUBLE)


class EndLimit:
    """Whatever hangs, a thread in the client library above all, the process ends: one limit for all of its end.

    It runs from the first reason to end, through the stop of the worker and the end of the process behind it.
    """

    def __init__(self, seconds: float = STOP_SECONDS_MAX, end: Callable[[int], None] = _end_hard) -> None:
        """Nothing ends yet; `end` is given the exit code."""
        self._seconds = seconds
        self._end = end
        self._code = 0
        self._timer: threading.Timer | None = None

    def start(self, code: int) -> None:
        """There is a reason to end. A later one gives no more time, but its exit code unless there is one already."""
        self._code = self._code or code
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, lambda: self._end(self._code))
            self._timer.daemon = True
            self._timer.start()

    def lift(self) -> None:
        """For a process that goes on after the worker."""
        if self._timer is not None:
            self._timer.cancel()


def run_worker(app: App, limit: EndLimit) -> int:
    """Run the app until a signal or a crash; the exit code to leave with, after one log line that says why.

    The limit still runs afterwards: the rest of the process must end within it too.
    """
    tune_garbage_collector()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    running = Worker(app, loop, limit)
    try:
        running.execute_from_commandline()
    except SystemExit as ended:
        reason = running.crash_reason or app.engine.failure
        code = exit_code_of(reason) if reason is not None else _code(ended)
    if code == 0:
        log_event.info("worker stopped")
    else:
        log_event.critical("worker ended", exit_code=code, cause=_sentence(reason))
    return code


def _code(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else EXIT_TROUBLE


def exit_code_of(reason: BaseException) -> int:
    """The exit code for what ended the worker."""
    return EXIT_FENCED if isinstance(reason, Fenced) else EXIT_TROUBLE


def _sentence(reason: BaseException | None) -> str:
    if reason is None:
        return "the worker could not start"
    if isinstance(reason, LogError | SettingsError):
        return str(reason)
    return f"{type(reason).__name__}: {reason}"
