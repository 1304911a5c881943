"""An asyncio event loop whose turns and time are the scheduler's, and the runtime that goes with it."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import Context
from typing import Any, TypeVar

from tests.sim.scheduler import Crashed, Owner, Scheduler, Strand

T = TypeVar("T")

EPOCH_US = 1_772_445_600_000_000  # 2026-03-02T10:00:00Z, on the sample day


class SimTask(asyncio.Task[Any]):
    """A task with a number for a hash, so that sets of tasks have the same order in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, **options: Any) -> None:
        self.number = number  # first: asyncio puts every task into a set of its own
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.AbstractEventLoop):
    """Runs one callback per turn."""

    def __init__(self, scheduler: Scheduler, owner: Owner) -> None:
        self.owner = owner
        self.tasks: list[SimTask] = []
        """All of them, so that none is collected before the end of the run."""
        self._scheduler = scheduler
        self._callbacks: deque[asyncio.Handle] = deque()
        self._is_listed = False

    def turn(self) -> None:
        """Run one callback."""
        handle = self._callbacks.popleft()
        if not handle.cancelled():
            if self._scheduler.running_loop is not self:  # setting it asks the system for more than one would think
                self._scheduler.running_loop = self
                events._set_running_loop(self)
            handle._run()
        self._is_listed = bool(self._callbacks)
        if self._is_listed:
            self._scheduler.ready(self)

    def end(self) -> None:
        """The process has died: unwind every task. It can reach nothing any more."""
        self._scheduler.running_loop = self
        events._set_running_loop(self)
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is known to be pending
                _unwind(task.get_coro())

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self._scheduler.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.owner.dead and not isinstance(error, Crashed):
            raise AssertionError(f"an error was left to the event loop: {context}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The handle stays among the deadlines and does nothing there."""

    def _alive(self) -> None:
        if self.owner.dead:
            raise Crashed

    def _add(self, handle: asyncio.Handle) -> None:
        self._callbacks.append(handle)
        if not self._is_listed:
            self._is_listed = True
            self._scheduler.ready(self)

    def call_soon(  # type: ignore[override]  # without the newer typing of the arguments
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def due() -> None:
            if not handle.cancelled() and not self.owner.dead:
                self._add(handle)

        self._scheduler.at(when, due)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        self._alive()
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # as above
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        if self.owner.dead:
            _discard(coro)
            raise Crashed
        self._scheduler.tasks += 1
        task = SimTask(coro, self._scheduler.tasks, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]  # as above
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        assert isinstance(executor, SimExecutor), "threads come from the runtime"
        future: asyncio.Future[T] = self.create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            def settle() -> None:
                if future.cancelled():
                    return
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result)  # type: ignore[arg-type]  # a result when there is no error

            self.call_soon(settle)

        executor.start(lambda: func(*args), done)
        return future


_UNWINDS_MAX = 20


def _discard(coroutine: Any) -> None:
    """Close a coroutine that never began, with those it was given to wait for."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        given = list(coroutine.cr_frame.f_locals.values())
        coroutine.close()
        for value in given:
            if inspect.iscoroutine(value):
                _discard(value)


def _unwind(coroutine: Any) -> None:
    """Throw until the coroutine has ended; what it wants to wait for meanwhile is refused again."""
    _discard(coroutine)
    for _ in range(_UNWINDS_MAX):
        try:
            coroutine.throw(Crashed())
        except (Crashed, StopIteration, RuntimeError):
            return
        except Exception:  # noqa: BLE001  # whatever else it raises dies with the process
            return
    raise AssertionError("a coroutine of a dead process cannot be ended")


class SimExecutor(Executor):
    """So many strands for calls that block."""

    def __init__(self, owner: SimRuntime, threads: int, name: str) -> None:
        self._runtime = owner
        self._free = threads
        self._name = name
        self._calls: deque[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]] = deque()

    def start(self, call: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Run a call on a strand; `done` is told what came of it, on that strand."""
        if self._runtime.process.dead:
            raise Crashed
        self._calls.append((call, done))
        if self._free:
            self._free -= 1
            self._runtime.strand(self._serve, self._name)

    def _serve(self) -> None:
        while self._calls:
            call, done = self._calls.popleft()
            try:
                result = call()
            except Crashed:
                raise
            except BaseException as error:  # noqa: BLE001  # carried to whoever asked
                done(None, error)
            else:
                done(result, None)
        self._free += 1  # nothing comes between the last look and this

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As any executor does."""
        future: Future[T] = Future()

        def done(result: T | None, error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # a result when there is no error

        self.start(lambda: fn(*args, **kwargs), done)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """What was started is finished; nobody waits for it."""
        if self._runtime.process.dead:
            raise Crashed


class SimRuntime:
    """The `services.engine.runtime.Runtime` of one process."""

    def __init__(self, scheduler: Scheduler, process: Owner) -> None:
        self.process = process
        self._strands: dict[Strand, None] = {}
        self._scheduler = scheduler

    def strand(self, function: Callable[[], None], name: str) -> None:
        """Start a strand."""

        def run() -> None:
            try:
                function()
            finally:
                self._strands.pop(strand, None)

        strand = Strand(self._scheduler, self.process, run, name)
        self._strands[strand] = None
        self._scheduler.ready(strand)

    def end(self) -> None:
        """The process has died: unwind every strand. It can reach nothing any more."""
        for strand in list(self._strands):
            strand.end()

    def monotonic(self) -> float:
        """The virtual clock, which goes on while the process is paused."""
        return self._scheduler.now

    def now_us(self) -> int:
        """The virtual time of day."""
        return EPOCH_US + int(self._scheduler.now * 1e6)

    def executor(self, threads: int, name: str) -> Executor:
        """Strands."""
        return SimExecutor(self, threads, name)

    def wait(self, future: Future[T], timeout_seconds: float) -> T:
        """Park until there is a result. Raises TimeoutError."""
        deadline = self._scheduler.now + timeout_seconds
        strand = self._scheduler.current
        assert strand is not None, "the event loop would be blocked: only a thread may wait"
        future.add_done_callback(lambda _: self._scheduler.wake(strand))
        while not future.done():
            if self._scheduler.now >= deadline:
                raise TimeoutError
            self._scheduler.park(deadline - self._scheduler.now)
        return future.result(0)

    def sleep(self, seconds: float) -> None:
        """Park."""
        deadline = self._scheduler.now + seconds
        while self._scheduler.now < deadline:
            self._scheduler.park(deadline - self._scheduler.now)
