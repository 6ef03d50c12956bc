"""
The event loops of this process, and the one that runs the server, if any.

Objects of one loop cannot be used on another one. :class:`PerLoop` keeps them.

``InMemoryChannelLayer`` is not thread-safe: only the loop whose consumers receive from
it may send to it. A server registers its loop here, and the publisher uses that loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = [
    "PerLoop",
    "expect",
    "expected",
    "in_loop",
    "loop",
    "register",
    "run",
    "websocket_application",
]

T = TypeVar("T")

#: Seconds between two looks at whether a loop that has not answered has ended.
PATIENCE = 1.0

_loop: asyncio.AbstractEventLoop | None = None
_expected = False


class PerLoop(Generic[T]):
    """One object for each event loop, made on first use and dropped with its loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T]
        self._made = WeakKeyDictionary()

    def get(self) -> T:
        """Return the object of the running loop."""
        running = asyncio.get_running_loop()
        found = self._made.get(running)
        if found is None:
            found = self._made[running] = self._make()
        return found

    def forget(self) -> None:
        """Drop the object of the running loop; the next call makes a new one."""
        self._made.pop(asyncio.get_running_loop(), None)

    def values(self) -> list[T]:
        """Return the objects of all loops; any thread may call this."""
        return list(self._made.values())


def in_loop() -> bool:
    """Return whether the caller blocks an event loop until it returns."""
    return asyncio._get_running_loop() is not None


def expect() -> None:
    """Note that an ASGI application was made, so a server is likely to run."""
    global _expected
    _expected = True


def websocket_application(serve: ASGIApplication, name: str) -> ASGIApplication:
    """Return an application that serves WebSockets and rejects other connections."""
    expect()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError(
                f"{name} serves WebSockets, not {scope['type']!r}: "
                f"put it under 'websocket' in ProtocolTypeRouter."
            )
        await serve(scope, receive, send)

    return application


def expected() -> bool:
    """Return whether a server runs in this process or is likely to run."""
    return _expected or loop() is not None


def register(serving: asyncio.AbstractEventLoop) -> None:
    """Set the loop that runs the server, in place of the one before."""
    global _loop
    _loop = serving


def loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs the server, or ``None``."""
    return None if _loop is None or _loop.is_closed() else _loop


async def run(call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """
    Await ``call()`` on the server's loop, from another loop.

    Return whether there is such a loop. If it ends meanwhile, the call ends as well.
    """
    serving = loop()
    if serving is None:
        return False
    done: Future[None] = Future()

    def settle(task: asyncio.Task[None]) -> None:
        if task.cancelled():
            done.cancel()
        elif error := task.exception():
            done.set_exception(error)
        else:
            done.set_result(None)

    work: Coroutine[Any, Any, None] | None = None

    def start() -> None:
        nonlocal work
        work = call()
        serving.create_task(work).add_done_callback(settle)

    serving.call_soon_threadsafe(start)
    answer = asyncio.wrap_future(done)
    try:
        while not answer.done() and not serving.is_closed():
            await asyncio.wait([answer], timeout=PATIENCE)
        if answer.done() and not answer.cancelled():
            answer.result()
    finally:
        if work is not None and serving.is_closed():
            work.close()  # it may never have begun
    return True
