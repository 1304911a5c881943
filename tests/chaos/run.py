"""One run from the first topic to the verdict."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import day
from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import REPOSITORY
from deploy.local.quiet import Progress as Counts
from deploy.local.quiet import Stalled, await_quiet
from deploy.sample_day import catalogue
from services.adapters.kafka_log import KafkaLog
from services.adapters.reference_files import load_directory
from services.adapters.topic_admin import TopicAdmin
from services.commands.reference import outgoing_row
from services.engine.log import LogError
from services.pipeline import SERVICES, make_codec
from services.topics import load_topics
from tests.chaos import plan, report
from tests.chaos.events import Events, Watched
from tests.chaos.faults import Faults, StuckError
from tests.chaos.fleet import CrashLoopError, Fleet
from tests.chaos.places import Places, worker_environment
from tests.chaos.plan import Fault

DRAIN_SECONDS_MAX = 180.0
"""After the last fault everything must be through within this time; the driver's own end included."""
START_SECONDS_MAX = 90.0
BROKER_START_SECONDS_MAX = 240.0
"""After a kill it reads an hour of records back, on a machine that may be busy. Nobody is judged by this time."""
OVERTIME = 2.0
"""How much longer than asked for a run may take to do all its faults."""
_VERIFY_SECONDS_MAX = 1_800.0
_GRACE_SECONDS = 10.0
_QUIET = {"log_level": 0}


class RunFailedError(Exception):
    """The run could not be made, or could not be judged."""


@dataclass(frozen=True)
class Options:
    """What a run is asked for."""

    minutes: float
    seed: int
    rate: float
    """Records a second; about half of them are executions."""
    control: str = ""
    """Name of a negative control, or nothing."""
    keep: Path | None = None
    """Folder for everything; None: a temporary one, kept only when the run fails."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    summary: Mapping[str, Any]
    findings: Mapping[str, Any]
    missing: tuple[str, ...]
    """Sentences that say why it does not count as passed, beside what the findings say."""
    root: Path

    @property
    def accounted(self) -> bool:
        """Whether the verifier found nothing."""
        return bool(self.findings["sound"])


def run(options: Options) -> Result:
    """Run it. Raises RunFailedError, LocalServerError or LogError when there is nothing to judge."""
    root = options.keep or Path(tempfile.mkdtemp(prefix="posttrade-chaos-"))
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty; name a new folder")
    try:
        with ExitStack() as stack:
            stack.enter_context(_uninterrupted_end())
            return _Run(options, Places(root.resolve()), stack).go()
    except KeyboardInterrupt:
        if options.keep is None:
            shutil.rmtree(root, ignore_errors=True)
        raise
    except (StuckError, CrashLoopError, RuntimeError) as error:
        raise RunFailedError(f"{error}; data kept in {root}") from error


@contextlib.contextmanager
def _uninterrupted_end() -> Iterator[None]:
    """Entered first, so left last: a second Ctrl-C does not cut the cleaning up short, which ends by itself."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Run:
    def __init__(self, options: Options, places: Places, stack: ExitStack) -> None:
        self._options = options
        self._places = places
        self._chance = random.Random(f"faults {options.seed}")
        self._problems: list[str] = []
        socket_folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        stack.callback(shutil.rmtree, socket_folder, ignore_errors=True)
        self._events = Events(socket_folder)
        stack.callback(self._events.close)
        places.make(self._events.address)
        self._progress = report.Progress(places.faults_log)
        stack.callback(self._progress.close)
        self._broker = stack.enter_context(
            LocalKafka(places.kafka, quick=options.minutes < 10, start_seconds_max=BROKER_START_SECONDS_MAX)
        )
        self._environment = worker_environment(self._broker.bootstrap_servers, places.data)
        self._log = KafkaLog(self._broker.bootstrap_servers, client_settings=_QUIET)
        stack.callback(self._log.close)
        self._admin = TopicAdmin(self._broker.bootstrap_servers, client_settings=_QUIET)
        self._fleet = Fleet(places, self._environment, options.control)
        stack.callback(self._fleet.stop)
        self._faults = Faults(places, self._fleet, self._broker, self._events, self._chance, self._send_crash_record)
        self._driver: GuardedProcess | None = None
        self._clerk: GuardedProcess | None = None
        self._watcher: GuardedProcess | None = None
        stack.callback(self._end_others)
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def go(self) -> Result:
        """Prepare, disturb, let come to rest, judge."""
        say = self._progress.say
        say(f"seed {self._options.seed}; data in {self._places.root}")
        self._prepare()
        began = time.monotonic()
        self._disturb(began)
        minutes = (time.monotonic() - began) / 60
        say(f"faults are over after {minutes:.1f} minutes; waiting until nothing is left to do")
        drained = self._drain()
        say(f"the work came to rest after {drained:.0f} s" if drained else "the work did not come to rest")
        self._fleet.stop()
        self._stop_watcher()
        say("the verifier reads the topics")
        findings = self._verify()
        summary = self._summary(minutes, drained or DRAIN_SECONDS_MAX)
        missing = report.troubles(summary)
        if not self._options.control:
            missing += report.shortcomings(summary, findings, plan.quotas(self._options.minutes))
        result = Result(summary, findings, tuple(missing), self._places.root)
        report.write_summary(self._places.summary, {**summary, "missing": missing, "findings": findings})
        return result

    # --- prepare

    def _prepare(self) -> None:
        self._admin.apply(load_topics())
        codec = make_codec()
        reference = [*load_directory(day.SHIPPED_REFERENCE), *catalogue.reference()]
        self._log.send([outgoing_row(row, codec) for row in reference])
        for _ in range(plan.WORKERS_AT_START):
            self._fleet.add()
        self._watcher = self._process("watcher")
        self._driver = self._process("driver", str(self._options.seed), str(self._options.rate))
        self._clerk = self._process("clerk", str(self._options.seed))
        self._await_all_moving()

    def _await_all_moving(self) -> None:
        services = {service.name for service in SERVICES}
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._events.wait(lambda watched: services <= _moving(watched), 1.0):
            self._fleet.tend()
            if time.monotonic() > deadline:
                raise StuckError(f"not every service was moving after {START_SECONDS_MAX:.0f} s")

    def _process(self, name: str, *arguments: str) -> GuardedProcess:
        return GuardedProcess(
            [sys.executable, "-m", f"tests.chaos.{name}", str(self._places.root), *arguments],
            directory=REPOSITORY,
            output=self._places.root / f"{name}.log",
            grace_seconds=_GRACE_SECONDS,
            environment=self._environment,
        )

    # --- disturb

    def _disturb(self, began: float) -> None:
        """All faults of the plan, and more of them as long as there is time."""
        control, seed = self._options.control, self._options.seed
        seconds = self._options.minutes * 60
        latest = began + seconds * OVERTIME
        try:
            faults = plan.CONTROL_PLANS[control] if control else plan.make_plan(self._options.minutes, seed)
            for number, fault in enumerate(faults, start=1):
                if time.monotonic() > latest:
                    self._problems.append("not all faults were done in time; give it more minutes or less to do")
                    return
                self._one(fault, f"fault {number} of {len(faults)}")
            while not control and time.monotonic() < began + seconds:
                self._one(Fault(plan.FaultKind.KILL), f"after all {len(faults)} faults, as there is time")
        except (StuckError, CrashLoopError) as error:
            self._fleet.tell_where()
            self._progress.say(f"STUCK: {error}; the stacks of all workers are in {self._places.workers}")
            self._problems.append(str(error))

    def _one(self, fault: Fault, count: str) -> None:
        self._progress.say(f"{count}: {fault}; {len(self._fleet.workers)} workers")
        self._faults.do(fault)
        self._check_others()

    def _send_crash_record(self) -> None:
        assert self._driver is not None
        self._driver.send(signal.SIGUSR1)

    def _check_others(self) -> None:
        for name, process in (("driver", self._driver), ("clerk", self._clerk)):
            assert process is not None
            if process.exit_code() is not None:
                raise StuckError(f"the {name} has ended; see {self._places.root / f'{name}.log'}")

    # --- come to rest

    def _drain(self) -> float | None:
        """Seconds from the last fault until nothing moves any more; None when that took too long."""
        began = time.monotonic()
        deadline = began + DRAIN_SECONDS_MAX

        def check() -> None:
            self._fleet.tend()
            if time.monotonic() > deadline:
                raise Stalled(f"after {DRAIN_SECONDS_MAX:.0f} s there was still work left")

        try:
            for name, process in (("clerk", self._clerk), ("driver", self._driver)):
                self._end(name, process, check)
            self._await_quiet(check)
        except (Stalled, CrashLoopError) as error:
            self._fleet.tell_where()
            self._problems.append(str(error))
            return None
        return time.monotonic() - began

    def _end(self, name: str, process: GuardedProcess | None, check: Callable[[], None]) -> None:
        """Have a sender say its last, and wait."""
        assert process is not None
        process.send(signal.SIGTERM)
        while process.exit_code() is None:
            check()
            time.sleep(0.1)
        if process.wait() != 0:
            self._problems.append(f"the {name} failed; see {self._places.root / f'{name}.log'}")

    def _await_quiet(self, check: Callable[[], None]) -> None:
        counts = Counts(self._log, day.WATCHED)
        try:
            await_quiet(
                self._log, self._admin.committed, day.PIPELINE, counts, check=check, report=lambda _counts: None
            )
        except LogError as error:
            raise Stalled(str(error)) from error
        finally:
            counts.close()

    def _end_others(self) -> None:
        for process in (self._driver, self._clerk, self._watcher):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):  # it is ending at this very moment
                    process.send(signal.SIGKILL)
                process.stop()

    # --- judge

    def _stop_watcher(self) -> None:
        assert self._watcher is not None
        if self._watcher.stop() != 0:
            self._problems.append(f"the watcher failed; see {self._places.root / 'watcher.log'}")

    def _verify(self) -> Mapping[str, Any]:
        verifier = self._process("verifier")
        try:
            verifier.wait(_VERIFY_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._problems.append(f"the verifier had not ended after {_VERIFY_SECONDS_MAX:.0f} s")
        finally:
            verifier.stop()
        if not self._places.findings.exists():
            raise RuntimeError(f"the verifier failed; see {self._places.root / 'verifier.log'}")
        findings: dict[str, Any] = json.loads(self._places.findings.read_text(encoding="utf-8"))
        return findings

    def _summary(self, minutes: float, drained: float) -> dict[str, Any]:
        watched = self._events.watched
        ends = self._fleet.ends
        problems = [*self._problems]
        for code, count in sorted(report.unexpected(ends.by_exit_code).items()):
            problems.append(f"{count} workers ended by themselves with exit code {code}: {'; '.join(ends.logs[:3])}")
        sent: dict[str, int] = {}
        if self._places.sent_counts.exists():
            sent = json.loads(self._places.sent_counts.read_text(encoding="utf-8"))
        return {
            "seed": self._options.seed,
            "commit": report.commit_id(),
            "control": self._options.control,
            "rate": self._options.rate,
            "minutes_of_faults": round(minutes, 2),
            "drain_seconds": round(drained, 1),
            **report.tally_facts(self._faults.tally),
            "failpoints": dict(sorted(watched.reached.items())),
            "exits": watched.told["exit"],
            "rebalances": min((len(numbers) for numbers in watched.generations.values()), default=0),
            "commits": watched.commit_count,
            "unasked_ends": {str(code): count for code, count in sorted(ends.by_exit_code.items())},
            "clean_stops": {str(code): count for code, count in sorted(self._fleet.clean_stops.items())},
            "sent": sent,
            "problems": problems,
        }


def _moving(watched: Watched) -> set[str]:
    return {service for service, _ in watched.commits}
