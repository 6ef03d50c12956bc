"""
The function through which all parts of the library send: :func:`broadcast`.

The caller adds a message to the publisher's queue and goes on; it opens no connection
and does not wait for the network. While the replay log cannot be reached, the queue
grows up to ``PUBLISH_QUEUE``. Then the oldest messages are dropped and counted. After
the outage, each stream that lost messages first gets a *gap*, so its pages refresh
themselves.

Inside a transaction, a message waits for the commit.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from channels.layers import get_channel_layer

from turbo import metrics
from turbo.changes.transaction import Outcome, open_transactions, wait
from turbo.conf import get_settings
from turbo.delivery.marked import MARK, mark, plain
from turbo.delivery.names import CONTROL, stream_id
from turbo.delivery.publisher_thread import PublisherThread
from turbo.delivery.recorders import record
from turbo.delivery.unnumbered import Unnumbered
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.runtime import context, tracing
from turbo.runtime.beginnings import begin
from turbo.runtime.endings import before_end, remaining
from turbo.runtime.forks import Lock, after_in_child

__all__ = [
    "WaitingBroadcast",
    "broadcast",
    "flush",
    "get_publisher",
    "moment",
    "moment_if_waiting",
    "pass_on",
    "pass_on_whispers",
    "send_stored",
    "shut_down",
]

#: Seconds that the first page of a process waits for a moment of the replay log.
FIRST_MOMENT_TIMEOUT = 0.25


def broadcast(
    name: str,
    data: str,
    *,
    targets: Sequence[str] = (),
    summary: str | None = None,
    rendered: str = "",
) -> None:
    """
    Send ``data`` to all subscribers of the stream ``name``.

    If this thread has transactions open, it is sent after their commit, and not if they
    are rolled back. If only some of several databases commit, the stream gets a gap.

    ``targets`` name what the message overwrites, if anything. The log then recognises
    writers that overtake each other there, as it does for writers of the same object.
    ``rendered`` is the :func:`moment_if_waiting` from before ``data`` was rendered.

    A message with a ``summary``, such as a page refresh, is one of many similar ones.
    If several follow each other closely, the first is sent at once, and at the end the
    last, or the summary if they differ.
    """
    if not isinstance(data, str):
        raise TypeError(f"A broadcast is a string, not {data!r}.")
    if data[:1] == MARK:
        data = plain(data)
    order = _calls.made = _calls.made + 1
    transactions = open_transactions()
    since = (rendered or moment_if_waiting()) if transactions and targets else ""
    message = _message(name, data, targets, since)
    if tracing.tracer is not None and name != CONTROL:
        message = message._replace(trace=tracing.tracer.broadcast(name))
    if transactions:
        sent = _calls.keep_sent()
        wait(transactions, WaitingBroadcast(name, message, summary, order, sent))
    else:
        _send(name, message, summary, order)


def _message(name: str, data: str, targets: Sequence[str], since: str) -> Append:
    try:
        data.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no socket can send
        data = data.encode(errors="replace").decode()
    sid, keys = stream_id(name), [f"#{target}" for target in targets]
    if cause := context.cause():
        key = "\n".join([cause.key, *keys])
        return Append(sid, data, key, cause.writer, cause.moment)
    if not keys:
        return Append(sid, data)
    return Append(sid, data, "\n".join(keys), context.writer(), since)


def moment_if_waiting() -> str:
    """
    Return the present moment of the log if a broadcast would wait now, or ``""``.

    This needs no network.
    """
    return get_replay().moment_of_change() if open_transactions() else ""


@dataclass(frozen=True, slots=True)
class WaitingBroadcast:
    """A message that waits for the end of transactions, which call it."""

    name: str
    message: Append
    summary: str | None
    #: The number of the call in its thread, and what the thread has sent since then.
    order: int
    sent: _Sent

    def __call__(self, outcome: Outcome) -> None:
        """Send the message, a gap, or nothing."""
        message = self.message
        if outcome == "committed":
            if any(self.sent.get(key, 0) > self.order for key in _names(message)):
                # Something that this thread rendered later has gone out before it.
                message = message._replace(writer=f"{message.writer}:{self.order}")
            _send(self.name, message, self.summary, self.order)
            return
        if message.trace is not None:
            message.trace.drop()
        if outcome == "partly committed":
            get_publisher().put(Append(message.stream, None))


def send_stored(name: str, message: Append, summary: str | None) -> None:
    """Send a message, or a gap, that another process has left behind."""
    if message.data is None or record(name, message.data):
        get_publisher().put(message, summary=summary)


def pass_on(name: str, data: str) -> None:
    """Send ``data`` to who shows the stream now, without a number or a transaction."""
    if record(name, data):
        get_publisher().pass_on(Unnumbered(stream_id(name), plain(data)))


def pass_on_whispers(name: str, whispers: Sequence[tuple[str, str]]) -> None:
    """
    Send elements to who shows the stream now, but each not to its own connection.

    ``whispers`` are pairs of the id of that connection and the element.
    """
    if wanted := [pair for pair in whispers if record(name, pair[1])]:
        data = mark("whisper", wanted)
        get_publisher().pass_on(Unnumbered(stream_id(name), data))


def _send(name: str, message: Append, summary: str | None, order: int) -> None:
    data = message.data
    assert data is not None, "a gap is sent by the publisher"
    if not record(name, data):
        return
    if message.trace is not None:
        message.trace.commit()
    if (sent := _calls.sent()) is not None:
        for key in _names(message):
            sent[key] = max(order, sent.get(key, 0))
    get_publisher().put(message, summary=summary)


def _names(message: Append) -> list[tuple[str, str]]:
    """Return what the log compares of two messages to recognise overtaking."""
    return [(message.stream, name) for name in message.key.split("\n") if name]


class _Sent(dict[tuple[str, str], int]):
    """The last call of a thread that was sent, by what it is about."""


class _Calls(threading.local):
    """The calls of one thread: how many, and what was sent while any waits."""

    def __init__(self) -> None:
        self.made = 0
        self._sent: weakref.ref[_Sent] | None = None

    def sent(self) -> _Sent | None:
        """Return what was sent, unless no message waits."""
        return None if self._sent is None else self._sent()

    def keep_sent(self) -> _Sent:
        """Return what is sent from now on, for a message that waits."""
        sent = self.sent()
        if sent is None:
            sent = _Sent()
            self._sent = weakref.ref(sent)
        return sent


_calls = _Calls()


def moment() -> str:
    """
    Return the present moment of the replay log, for a page that begins now.

    This needs no network round trip, except the first time in a process.
    """
    return get_publisher().first_moment(FIRST_MOMENT_TIMEOUT)


def flush(timeout: float | None = None) -> bool:
    """
    Wait until all broadcasts so far have been handed to the channel layer.

    Return whether that happened within ``timeout`` seconds (by default
    ``FLUSH_TIMEOUT``). A process does this automatically when it ends.
    """
    if _publisher is None:
        return True
    seconds = remaining(get_settings().flush_timeout) if timeout is None else timeout
    return _publisher.flush(seconds)


_publisher: PublisherThread | None = None
_lock = Lock()  # held while _publisher is made


def get_publisher() -> PublisherThread:
    """Return the publisher of this process, made at the first broadcast."""
    global _publisher
    if _publisher is None:
        _import_backends()
        with _lock:
            if _publisher is None:
                _publisher = PublisherThread()
        begin()
    return _publisher


def _import_backends() -> None:
    # In this thread: a process forked while another thread imports would wait for ever.
    # The publisher reports errors in the configuration.
    with suppress(Exception):
        get_replay()
        get_channel_layer(get_settings().channel_layer)


def shut_down(timeout: float = 0.0) -> None:
    """
    Stop the publisher, after at most ``timeout`` seconds for waiting messages.

    The next broadcast starts a new one. Tests use this to leave no thread behind.
    """
    global _publisher
    with _lock:
        publisher, _publisher = _publisher, None
    if publisher is not None:
        publisher.flush(timeout)
        publisher.stop()


@after_in_child
def _after_fork() -> None:
    # The parent's thread does not exist here, and the parent sends its own queue.
    global _publisher
    _publisher = None


def _waiting() -> int:
    publisher = _publisher
    return 0 if publisher is None else publisher.waiting()


before_end(flush)
metrics.gauge("queue", _waiting)
