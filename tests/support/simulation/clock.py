"""
One clock for all event loops of a simulation.

Everything that happens stands in one queue, ordered by time. The clock jumps from one
entry to the next, so no real time passes, and the order is the same in every run.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from contextvars import Context
from itertools import count
from typing import Any

__all__ = ["Clock", "SimulatedLoop", "Stuck"]

#: Entries after which a simulation counts as stuck; a history needs a tenth of them.
PATIENCE = 60_000


class Stuck(AssertionError):
    """Something works without end."""


class Clock:
    """The time, and what is going to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        #: The number of entries that were run.
        self.steps = 0
        self._queue: list[tuple[float, int, events.Handle]] = []
        self._numbers = count()
        self._outside = SimulatedLoop(self)

    def push(self, when: float, handle: events.Handle) -> None:
        """Run a handle at a time, in its own loop."""
        heapq.heappush(self._queue, (max(when, self.now), next(self._numbers), handle))

    def later(
        self, seconds: float, call: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """Call something that belongs to no process."""
        return self._outside.call_later(seconds, call, *args)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, handle = heapq.heappop(self._queue)
            self._run(handle)
        self.now = end

    def _run(self, handle: events.Handle) -> None:
        loop = handle._loop
        if handle._cancelled:
            return
        if loop.held is not None:
            loop.held.append(handle)
            return
        self.steps += 1
        if self.steps > PATIENCE:
            raise Stuck(f"{PATIENCE} steps until {self.now:.3f}, {handle!r}")
        with loop.running():
            handle._run()


class _Running:
    """Makes a loop the running one, for as long as something of it runs."""

    __slots__ = ("_before", "_loop")

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before = events._get_running_loop()
        events._set_running_loop(self._loop)

    def __exit__(self, *exc_info: object) -> None:
        events._set_running_loop(self._before)


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop of a simulated process; many of them share one clock."""

    def __init__(self, clock: Clock, process: Any = None) -> None:
        self._clock = clock
        super().__init__()
        #: The process whose code runs here.
        self.process = process
        #: What waits while the process is stopped; ``None`` while it runs.
        self.held: list[events.Handle] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]

    def running(self) -> _Running:
        """Make this loop the running one inside a block."""
        return _Running(self)

    def time(self) -> float:
        return self._clock.now

    def is_running(self) -> bool:
        return True

    def set_debug(self, enabled: bool) -> None:
        """Stay out of the debug mode, which takes time."""
        self._debug = False

    def __del__(self) -> None:
        """Do nothing: there is no selector to close."""

    def hold(self) -> None:
        """Run nothing until :meth:`go_on`."""
        if self.held is None:
            self.held = []

    def go_on(self) -> None:
        """Run what has waited."""
        held, self.held = self.held or [], None
        for handle in held:
            self._clock.push(self._clock.now, handle)

    def end(self) -> None:
        """Take no more calls."""
        self._closed = True

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        if self._closed:
            return handle
        if self.held is None:
            self._clock.push(self._clock.now, handle)
        else:
            self.held.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._closed:
            self._clock.push(when, handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        when = self._clock.now + delay
        return self.call_at(when, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: the clock skips what is cancelled."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Raise what nobody else looks at; it is a mistake of the code."""
        error = context.get("exception")
        if self.process is not None and not self._closed:
            self.process.unhandled(context.get("message", ""), error)
        elif error is not None:
            raise error

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], host: str, port: int, **options: Any
    ) -> tuple[Any, Any]:
        protocol = protocol_factory()
        transport = await self.process.network.connect(
            self, self.process, f"{host}:{port}", protocol
        )
        return transport, protocol

    def _make_task(self, loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, **options)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
