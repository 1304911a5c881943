"""The worker's log: JSON lines on standard error, our own events and everything that Faust and its libraries log."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_DEBUG = "debug"


def configure(level: str) -> None:
    """Send all logging of the process to standard error as JSON; others than ourselves are heard from warnings on.

    Tracebacks are written at level `debug` only: elsewhere the error's own sentence has to be enough.
    """
    debug = level == _DEBUG
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if debug else _without_traceback,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    if not debug:  # Faust warns at each assignment about tables, of which there are none here
        logging.getLogger("faust.tables.recovery").setLevel(logging.ERROR)
    logging.getLogger("posttrade").setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _without_traceback(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Name the error of `exc_info` and drop its traceback."""
    info = event.pop("exc_info", None)
    error = (
        info[1]
        if isinstance(info, tuple)
        else info
        if isinstance(info, BaseException)
        else sys.exc_info()[1]
        if info
        else None
    )
    if error is not None and "cause" not in event:
        event["cause"] = f"{type(error).__name__}: {error}"
    return event
