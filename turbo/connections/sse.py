"""
Streams over server-sent events, for Turbo's own ``<turbo-stream-source src="…">``.

Each response has one stream. The id of each event is its position, so the browser's
``Last-Event-ID`` resumes where the connection broke. This needs an ASGI server.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any
from weakref import finalize

from asgiref.sync import SyncToAsync
from django.db import connections, transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.views.decorators.http import require_GET

from turbo import metrics
from turbo.conf import get_settings
from turbo.connections.page import PageConnection
from turbo.connections.sse_text import comment, event, retry
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import Wanted
from turbo.runtime import loops
from turbo.runtime.namespaces import entered
from turbo.runtime.tasks import Tasks
from turbo.runtime.threads import current_in_thread
from turbo.streams.html import element

__all__ = ["event_stream"]

#: Milliseconds after which a browser reconnects.
RETRY = 1_500
#: Makes a page that missed something load itself again.
_REFRESH = str(element("refresh"))


@transaction.non_atomic_requests
@require_GET
async def event_stream(request: HttpRequest) -> HttpResponseBase:
    """
    Answer ``?stream=<signed name>&since=<position>`` with an event stream.

    The status is 403 for a refused name, with the reason, which makes the browser give
    up, and 503 for an outage.
    """
    if getattr(request, "scope", None) is None:
        return HttpResponse("Event streams need an ASGI server.", status=501)
    with entered(await current_in_thread()):
        return await _answer(request)


async def _answer(request: HttpRequest) -> HttpResponseBase:
    signed = request.GET.get("stream", "")
    since = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
    events = _Events()
    scope = {
        "user": await request.auser(),
        "session": getattr(request, "session", None),
    }
    loops.expect()
    subscriber = PageConnection(scope, events.put, events.room)
    try:
        await subscriber.subscribe([Wanted(signed, since)])
    except BaseException:  # the browser has gone
        await subscriber.stop()
        raise
    if (refusal := events.refusal()) is not None:
        await subscriber.stop()
        return refusal
    stream = _Stream(subscriber, events)
    response = StreamingHttpResponse(stream, content_type="text/event-stream")
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


class _Stream:
    """
    The content of a response; its end is the end of the subscription.

    If the browser leaves before Django begins to iterate, the content is never used.
    Then the subscription ends when this object is garbage collected.
    """

    def __init__(self, subscriber: PageConnection, events: _Events) -> None:
        self._subscriber = subscriber
        self._events = events
        loop = asyncio.get_running_loop()
        self._unused = finalize(self, _stop_soon, loop, subscriber)
        self._unused.atexit = False

    async def __aiter__(self) -> AsyncIterator[str]:
        self._unused.detach()
        try:
            if _is_cancelled():
                return
            await _release_thread()
            yield retry(RETRY)
            async for text in self._events:
                yield text
        finally:
            await self._subscriber.stop()


def _stop_soon(loop: asyncio.AbstractEventLoop, subscriber: PageConnection) -> None:
    """Stop a subscriber, from any thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: _stopping.run(subscriber.stop()))


_stopping = Tasks()


def _is_cancelled() -> bool:
    # Django cancels a request once when its browser has left. Synchronous middleware
    # swallows this, and the stream would then go on for ever without a reader.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _release_thread() -> None:
    """
    End the thread that Django keeps for this request, and its database connections.

    The stream does not need it. Code that needs a thread later, such as middleware that
    closes something, gets a new one.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(executor, connections.close_all)
        executor.shutdown(wait=False)


#: The status of the response for a subscription that was not accepted.
_STATUS = {"denied": 403, "retry": 503}


class _Events:
    """
    The bounded queue of events for one browser.

    One event is always taken, however large, so that the browser gets ahead each time.
    """

    def __init__(self) -> None:
        self._queue: deque[Frame] = deque()
        self._bytes = 0
        self._limit = get_settings().queue_bytes
        self._slow = False
        self._arrived = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Add a frame; if too many wait, the response ends, and the browser resumes."""
        if self._slow:
            return
        if self._queue and frame.size > self.room() + self._queue[0].size:
            self._slow = True
            first = self._queue.popleft()
            self._queue.clear()
            self._queue.append(first)
        else:
            self._queue.append(frame)
            self._bytes += frame.size
        self._arrived.set()

    def room(self) -> int:
        """Return how many bytes may be added to the waiting events."""
        return self._limit - self._bytes

    def refusal(self) -> HttpResponse | None:
        """Return the response for a subscription that was not accepted, or ``None``."""
        for frame in self._queue:  # the first one may be a ping
            answer = json.loads(frame.text)
            if (status := _STATUS.get(answer["type"])) is not None:
                return HttpResponse(answer["reason"], status=status)
        return None

    async def __aiter__(self) -> AsyncIterator[str]:
        while self._queue or not self._slow:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                frame = self._queue.popleft()
                self._bytes -= frame.size
                text = frame.wire("sse", _as_event)
                if text is None:
                    return
                yield text
        metrics.count("closed_slow")


def _as_event(text: str) -> str | None:
    """Return a frame as an event; ``None`` ends the response."""
    frame: dict[str, Any] = json.loads(text)
    # An empty id would make the browser forget its position.
    position = frame.get("position") or None
    match frame["type"]:
        case "message":
            return event(frame["data"], id=position)
        case "gap":
            return event(_REFRESH, id=position)
        case "subscribed" if not frame["recovered"]:
            return event(_REFRESH, id=position)
        case "denied":
            return None
        case _:
            return comment(frame["type"])
