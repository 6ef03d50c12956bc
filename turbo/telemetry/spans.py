"""
The spans of OpenTelemetry for one message::

    turbo.change          the hooks for one object, after the commit
      turbo.render        a template
      turbo.broadcast     from the verb until the message is in the log
        turbo.append      its storing in the log
        turbo.receive     in each process that shows the stream
          turbo.send      the writing to the sockets of this process

A message of the channel layer carries, in the key ``t``, the ``traceparent`` of the W3C
and the time of the commit, for each message in it. Processes without telemetry, and
older ones, ignore the key.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from turbo.runtime.context import is_reporting
from turbo.runtime.failures import log_failure
from turbo.runtime.tracing import Trace
from turbo.telemetry.latency import BOUNDS, latency

__all__ = ["KEY", "SpanTracer"]

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

#: The key of a message of the channel layer.
KEY = "t"
#: The header of the W3C.
PARENT = "traceparent"

#: For each message, by its stream id and number: the header, and microseconds.
_Carried = dict[tuple[str, int], deque[tuple[str, int]]]


def _guarded(default: D) -> Callable[[Callable[P, T]], Callable[P, T | D]]:
    """Log what OpenTelemetry raises, and return ``default``: messages have to go on."""

    def decorate(function: Callable[P, T]) -> Callable[P, T | D]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T | D:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                log_failure("A message could not be traced.", error)
                return default

        return guarded

    return decorate


class _Commits(threading.local):
    """When this thread has last committed, in nanoseconds."""

    time = 0


class SpanTracer:
    """Makes spans for messages, and measures how long they take."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("turbo")
        self._commits = _Commits()
        self._duration = metrics.get_meter("turbo").create_histogram(
            "turbo.commit_to_socket",
            unit="s",
            description="Time from a commit to the sockets of a process",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        """Follow what is done inside the block."""
        stack = ExitStack()
        self._enter(stack, name, attributes)
        try:
            yield
        except BaseException as error:
            self._leave(stack, error)
            raise
        self._leave(stack, None)

    @_guarded(None)
    def _enter(
        self, stack: ExitStack, name: str, attributes: Mapping[str, str]
    ) -> None:
        stack.enter_context(
            self._tracer.start_as_current_span(name, attributes=attributes)
        )

    @_guarded(None)
    def _leave(self, stack: ExitStack, error: BaseException | None) -> None:
        if error is None:
            stack.close()
        else:
            stack.__exit__(type(error), error, error.__traceback__)

    def now(self) -> int:
        """Return the time in nanoseconds."""
        return time.time_ns()

    def committed(self) -> None:
        """Note that a transaction of this thread was committed now."""
        self._commits.time = time.time_ns()

    def broadcast(self, name: str) -> MessageTrace:
        """Return what follows a message that is broadcast now."""
        return MessageTrace(self._begin(name), self._commits)

    @_guarded(trace.INVALID_SPAN)
    def _begin(self, name: str) -> Span:
        return self._tracer.start_span(
            "turbo.broadcast",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "turbo",
                "messaging.operation.type": "send",
                "messaging.destination.name": name,
            },
        )

    @_guarded(None)
    def appended(
        self,
        traces: Sequence[Trace | None],
        places: Sequence[tuple[str, str, int]],
        begun: int,
    ) -> _Carried:
        """Note that the log has stored messages; return what is carried of them."""
        carried: _Carried = {}
        now = time.time_ns()
        for message, (sid, epoch, number) in zip(traces, places, strict=True):
            if isinstance(message, MessageTrace):
                span = self._child("turbo.append", message.span, begun)
                span.set_attribute("turbo.position", f"{epoch}:{number}")
                span.end(now)
                message.span.end(now)
                # Without a log, all messages of a stream have the number 0.
                waiting = carried.setdefault((sid, number), deque())
                waiting.append(message.carried())
        return carried

    def _child(
        self, name: str, parent: Span, begun: int, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(
            name, context=context, kind=kind, start_time=begun
        )

    @_guarded(None)
    def carry(self, message: dict[str, Any], appended: _Carried | None) -> None:
        """Add to a message of the channel layer what is carried of its messages."""
        if not appended:
            return
        entries = []
        for sid, _, number, data in message["m"]:
            for place in range(number, number + len(data)):
                if waiting := appended.get((sid, place)):
                    header, committed = waiting[0] if place else waiting.popleft()
                    entries.append([sid, place, header, committed])
        if entries:
            message[KEY] = entries

    @_guarded(None)
    def received(self, message: Mapping[str, Any]) -> SpanFanout | None:
        """Return what follows the messages in a message of the channel layer."""
        carried = _read(message.get(KEY))
        return SpanFanout(self, carried) if carried else None

    @_guarded(None)
    def passed_on(
        self, header: str, committed: int, times: tuple[int, int, int], subscribers: int
    ) -> None:
        """Note that a message was written to the sockets of this process."""
        begun, turn, now = times
        context = TraceContextTextMapPropagator().extract({PARENT: header})
        receive = self._tracer.start_span(
            "turbo.receive", context, SpanKind.CONSUMER, start_time=begun
        )
        send = self._child("turbo.send", receive, turn)
        send.set_attribute("turbo.subscribers", subscribers)
        send.end(now)
        receive.end(now)
        # The clock of another machine may be ahead.
        seconds = max(0.0, now / 1e9 - committed / 1e6)
        latency.add(seconds)
        self._duration.record(seconds)


class MessageTrace:
    """The span of one broadcast, and when its transaction was committed."""

    __slots__ = ("_commits", "_time", "span")

    def __init__(self, span: Span, commits: _Commits) -> None:
        self.span = span
        self._commits = commits
        self._time = 0

    def commit(self) -> None:
        """Note the time of the commit."""
        self._time = self._commits.time if is_reporting() else time.time_ns()

    @_guarded(None)
    def drop(self) -> None:
        """End the span of a message that is not sent."""
        self.span.set_attribute("turbo.rolled_back", True)
        self.span.end()

    def carried(self) -> tuple[str, int]:
        """Return the header, or ``""``, and the time of the commit."""
        carrier: dict[str, str] = {}
        context = trace.set_span_in_context(self.span)
        TraceContextTextMapPropagator().inject(carrier, context)
        return carrier.get(PARENT, ""), self._time // 1_000


class SpanFanout:
    """The messages in one message of the channel layer."""

    def __init__(self, tracer: SpanTracer, carried: _Carried) -> None:
        self._tracer = tracer
        self._carried = carried
        self._begun = self._turn = time.time_ns()

    def sent(
        self, sid: str, number: int, count: int, *, subscribers: int, is_held: bool
    ) -> None:
        """
        Note that ``count`` messages from ``number`` on have been passed on.

        Those that are held are sent after a repair, which knows nothing of the trace.
        """
        now = time.time_ns()
        for place in range(number, number + count):
            if subscribers and not is_held and (found := self._take(sid, place)):
                times = self._begun, self._turn, now
                self._tracer.passed_on(*found, times, subscribers)
        self._turn = now

    def _take(self, sid: str, number: int) -> tuple[str, int] | None:
        waiting = self._carried.get((sid, number))
        return waiting.popleft() if waiting else None


def _read(entries: object) -> _Carried:
    """Return what a message carries; whatever else it may hold is ignored."""
    carried: _Carried = {}
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case [str(sid), int(number), str(header), int(committed)]:
                waiting = carried.setdefault((sid, number), deque())
                waiting.append((header, committed))
    return carried
