"""
Streams over server-sent events, for Turbo's own ``<turbo-stream-source src="…">``.

One stream a response; the id of each event is its position, so that the browser's
``Last-Event-ID`` resumes where the connection broke. Needs an ASGI server.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.views.decorators.http import require_GET

from turbo import metrics, serving
from turbo.conf import get_settings
from turbo.elements import element
from turbo.eventstream import comment, event, retry
from turbo.frame import Frame
from turbo.protocol import Wanted
from turbo.subscribers import LiveSubscriber

__all__ = ["event_stream"]

#: Milliseconds after which a browser comes back.
RETRY = 1_500
#: The page missed something: it loads itself again.
_REFRESH = str(element("refresh"))


@require_GET
async def event_stream(request: HttpRequest) -> HttpResponseBase:
    """
    Answer ``?stream=<signed name>&since=<position>`` with an event stream.

    A refused name is a 403 with the reason, which ends the browser's attempts; an
    outage is a 503.
    """
    if getattr(request, "scope", None) is None:
        return HttpResponse("Event streams need an ASGI server.", status=501)
    signed = request.GET.get("stream", "")
    since = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
    events = _Events()
    scope = {
        "user": await request.auser(),
        "session": getattr(request, "session", None),
    }
    serving.expect()
    subscriber = LiveSubscriber(scope, events.put)
    await subscriber.subscribe([Wanted(signed, since)])
    if (refusal := events.refusal()) is not None:
        await subscriber.stop()
        return refusal
    response = StreamingHttpResponse(
        _stream(subscriber, events), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


async def _stream(subscriber: LiveSubscriber, events: _Events) -> AsyncIterator[str]:
    try:
        yield retry(RETRY)
        async for text in events:
            yield text
    finally:
        await subscriber.stop()


class _Events:
    """The events on their way to one browser, bounded like any other queue."""

    def __init__(self) -> None:
        self._queue: deque[Frame] = deque()
        self._bytes = 0
        self._limit = get_settings().queue_bytes
        self._slow = False
        self._arrived = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Take a frame; when too many wait the response ends, to be resumed."""
        self._queue.append(frame)
        self._bytes += frame.size
        self._slow = self._slow or self._bytes > self._limit
        self._arrived.set()

    def refusal(self) -> HttpResponse | None:
        """Return the answer to a subscription that was not accepted."""
        answer = json.loads(self._queue[0].text)
        if answer["type"] == "denied":
            return HttpResponse(answer["reason"], status=403)
        if answer["type"] == "retry":
            return HttpResponse(answer["reason"], status=503)
        return None

    async def __aiter__(self) -> AsyncIterator[str]:
        while not self._slow:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue and not self._slow:
                frame = self._queue.popleft()
                self._bytes -= frame.size
                text = frame.wire("sse", _as_event)
                if text is None:
                    return
                yield text
        metrics.count("closed_slow")


def _as_event(text: str) -> str | None:
    """Return the event that a frame becomes; ``None`` ends the response."""
    frame: dict[str, Any] = json.loads(text)
    match frame["type"]:
        case "message":
            return event(frame["data"], id=frame["position"])
        case "gap":
            return event(_REFRESH, id=frame["position"])
        case "subscribed" if not frame["recovered"]:
            return event(_REFRESH, id=frame["position"])
        case "denied":
            return None
        case _:
            return comment(frame["type"])
