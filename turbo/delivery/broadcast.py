"""
The function through which all parts of the library send: :func:`broadcast`.

The caller adds a message to the publisher's queue and goes on; it opens no connection
and does not wait for the network. While the replay log cannot be reached, the queue
grows up to ``PUBLISH_QUEUE``. Then the oldest messages are dropped and counted. After
the outage, each stream that lost messages first gets a *gap*, so its pages refresh
themselves.
"""

from __future__ import annotations

import atexit
from contextlib import suppress

from channels.layers import get_channel_layer

from turbo import metrics
from turbo.conf import get_settings
from turbo.delivery.names import stream_id
from turbo.delivery.publisher import Publisher
from turbo.delivery.recorders import record
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.runtime import context
from turbo.runtime.forks import Lock, after_in_child

__all__ = ["broadcast", "flush", "get_publisher", "moment", "shut_down"]

#: Seconds that the first page of a process waits for a moment of the replay log.
FIRST_MOMENT_TIMEOUT = 0.25


def broadcast(
    name: str, data: str, *, target: str = "", summary: str | None = None
) -> None:
    """
    Send ``data`` to all subscribers of the stream ``name``.

    ``target`` names what the message overwrites, if anything. The log then recognises
    writers that overtake each other there, as it does for writers of the same object.

    A message with a ``summary``, such as a page refresh, is one of many similar ones.
    If several follow each other closely, the first is sent at once, and at the end the
    last, or the summary if they differ.
    """
    if not isinstance(data, str):
        raise TypeError(f"A broadcast is a string, not {data!r}.")
    if not record(name, data):
        return
    get_publisher().put(_message(name, data, target), summary=summary)


def _message(name: str, data: str, target: str) -> Append:
    try:
        data.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no socket can send
        data = data.encode(errors="replace").decode()
    cause = context.cause()
    if cause is None:
        return Append(stream_id(name), data)
    key = f"{cause.key}\n#{target}" if target else cause.key
    return Append(stream_id(name), data, key, cause.writer, cause.moment)


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
    seconds = get_settings().flush_timeout if timeout is None else timeout
    return _publisher.flush(seconds)


_publisher: Publisher | None = None
_lock = Lock()  # held while _publisher is made


def get_publisher() -> Publisher:
    """Return the publisher of this process, made at the first broadcast."""
    global _publisher
    if _publisher is None:
        _import_backends()
        with _lock:
            if _publisher is None:
                _publisher = Publisher()
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


atexit.register(flush)
metrics.gauge("queue", _waiting)
