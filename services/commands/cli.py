"""The command line: which commands there are, and how errors reach the person who typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from services.commands import deadletters, exceptions, reference, send, topics
from services.commands.cluster import Cluster
from services.commands.explain import command as explain
from services.commands.failure import (
    EXIT_INTERRUPTED,
    EXIT_TROUBLE,
    EXIT_USAGE,
    CommandFailed,
    Ended,
)
from services.commands.summary import summary_command
from services.commands.tail import tail
from services.commands.text import nearest
from services.commands.trade import trade
from services.commands.verify import verify_command
from services.commands.worker import worker
from services.domain.errors import EncodeError
from services.engine.log import LogError
from services.settings import SettingsError


class CommandGroup(TyperGroup):
    """A command with commands of its own."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; say which one may have been meant when there is none of that name."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise CommandUnknown(args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


class CommandLine(CommandGroup):
    """Runs a command and turns what went wrong into one line and an exit code. A bug keeps its traceback."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line and end the process."""
        sys.exit(self._run(*arguments, **options))

    def _run(self, *arguments: Any, **options: Any) -> int:
        try:
            result = super().main(*arguments, **(options | {"standalone_mode": False}))
            sys.stdout.flush()
        except Ended as ended:
            return ended.exit_code
        except TyperException as error:
            return _fail(f"{error.format_message()} See: posttrade --help", EXIT_USAGE)
        except CommandFailed as error:
            return _fail(str(error), error.exit_code)
        except SettingsError as error:
            return _fail(str(error), EXIT_USAGE)
        except (LogError, EncodeError) as error:
            return _fail(str(error), EXIT_TROUBLE)
        except BrokenPipeError:  # found by the last flush; see `invoke`
            _forget_output()
            return 0
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        return result if isinstance(result, int) else 0

    def invoke(self, ctx: Any) -> Any:
        """Run the command. That the reader of our output has seen enough is no failure, as the library has it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_output()
            return 0


class CommandUnknown(CommandFailed):
    """There is no command of that name."""

    exit_code = EXIT_USAGE

    def __init__(self, name: str, known: Sequence[str]) -> None:
        """Name what was typed and what there is."""
        super().__init__(f"command {name} is unknown.{nearest(name, known)} Known are: {', '.join(known)}")


def _fail(text: str, exit_code: int) -> int:
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return exit_code


def _forget_output() -> None:
    """Point standard output at nothing, so that the interpreter's own flush at the end finds no broken pipe."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def make_app() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        name="posttrade",
        cls=CommandLine,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_posttrade)
    app.command("worker")(worker)
    for name, group in (
        ("topics", topics.app),
        ("reference", reference.app),
        ("send", send.app),
        ("deadletters", deadletters.app),
        ("explain", explain.app),
        ("exceptions", exceptions.app),
    ):
        app.add_typer(group, name=name, cls=CommandGroup)
    app.command("tail", short_help="Print the records of a topic, decoded.")(tail)
    app.command("trade", short_help="Show everything that happened to one trade.")(trade)
    app.command("verify", short_help="Check that every trade is accounted for, exactly once.")(verify_command)
    app.command("summary", short_help="Count what came in and what became of it.")(summary_command)
    return app


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # a callback of typer
    if wanted:
        print(f"posttrade {version('posttrade')}")
        raise typer.Exit


def _posttrade(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Post-trade processing: executions become settlement instructions, exactly once.

    The cluster is named by KAFKA_BOOTSTRAP_SERVERS (host:port, comma-separated); every other setting has a default. All
    settings are variables KAFKA_… and POSTTRADE_…, described in services/settings.py.

    A first look on your own cluster: posttrade topics apply; posttrade reference load; posttrade worker; posttrade send
    executions FILE; posttrade summary. `make run` does all of it on a cluster of its own.

    Exit codes: 0 done, 1 trouble, 2 wrong arguments or settings, 3 the worker's slot was taken over.
    """
    if context.obj is None:
        context.obj = Cluster()
