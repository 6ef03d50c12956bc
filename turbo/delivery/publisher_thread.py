"""
The thread of a process in which its publisher runs.

Only this module knows of the thread; what is sent, and how, stands in
:mod:`turbo.delivery.publisher`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from turbo.conf import get_settings
from turbo.delivery.publisher import Publisher
from turbo.delivery.questions import Questions
from turbo.delivery.unnumbered import Unnumbered
from turbo.replay.base import Append
from turbo.runtime import endings

__all__ = ["PublisherThread"]


class _Loop(asyncio.SelectorEventLoop):
    """
    An event loop that resolves names even while the interpreter shuts down.

    By then, the executors in which asyncio resolves names take no more work. Blocking
    does no harm in a thread of its own.
    """

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Resolve a name in this thread."""
        return socket.getaddrinfo(host, port, **options)


class PublisherThread(Publisher):
    """The publisher of a process, in a background thread with a loop of its own."""

    def __init__(self) -> None:
        self._empty = threading.Condition()
        super().__init__(_Loop(), drained=self._tell_drained)
        #: What pages ask the log.
        self.questions = Questions(self._loop)
        self._thread = threading.Thread(
            target=self._main, name="turbo-publisher", daemon=True
        )
        self._thread.start()

    def put(self, message: Append, *, summary: str | None = None) -> None:
        """Queue a message, without waiting unless the process has begun to end."""
        super().put(message, summary=summary)
        self.flush_at_end()

    def pass_on(self, message: Unnumbered) -> None:
        """Queue a message that is not stored."""
        super().pass_on(message)
        self.flush_at_end()

    def flush_at_end(self) -> None:
        """Wait for what was queued, if the process has begun to end."""
        if endings.has_begun():
            self.flush(endings.remaining(get_settings().flush_timeout))

    def first_moment(self, timeout: float) -> str:
        """Return :meth:`moment`; wait once for the log if it is not known yet."""
        if (moment := self.moment()) != "?" or self._outage.is_down:
            return moment
        future = asyncio.run_coroutine_threadsafe(self.sync_clock(), self._loop)
        with suppress(TimeoutError):
            future.result(timeout)
        return self.moment()

    def flush(self, timeout: float) -> bool:
        """Return whether the queue became empty within ``timeout`` seconds."""
        if threading.current_thread() is self._thread:
            return False
        self.release()
        done = threading.Event()
        self._loop.call_soon_threadsafe(done.set)
        deadline = time.monotonic() + timeout
        done.wait(timeout)
        with self._empty:
            return self._empty.wait_for(
                lambda: not self.waiting(), deadline - time.monotonic()
            )

    def stop(self) -> None:
        """Stop the thread and close its connections; waiting messages are lost."""
        super().stop()
        self._thread.join()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.run())
        # This also closes Redis clients from before a change of settings.
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _tell_drained(self) -> None:
        with self._empty:
            self._empty.notify_all()
