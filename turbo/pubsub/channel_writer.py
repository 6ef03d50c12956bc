"""
The queue of messages that the publisher's thread publishes in Redis.

While Redis cannot be reached, the queue grows up to ``PUBLISH_QUEUE``. Then the oldest
messages are dropped. Messages that were published but not acknowledged are sent again.
Each message has a number, and the script skips those that it has seen.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from turbo import metrics
from turbo.conf import get_settings
from turbo.delivery.broadcast import get_publisher
from turbo.exceptions import ConfigurationError
from turbo.pubsub.conf import redis_host
from turbo.pubsub.message import GAP, Announcement
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.queue import IsSent, Queue
from turbo.runtime.redis.aclients import Clients, ScriptCall
from turbo.runtime.redis.script import Script

__all__ = ["ChannelWriter", "send", "send_gap", "server_channel"]

logger = logging.getLogger("turbo.pubsub")

#: The most posts published with one call.
BATCH = 64
#: Seconds for which Redis keeps the number of a process's last message.
MEMORY = 3_600

# KEYS: the number of the last message of a process. ARGV: seconds to keep it, then
# triples of a message's number, a channel and a text.
_PUBLISH = Script("""
local seen = tonumber(redis.call('GET', KEYS[1])) or 0
local last = tonumber(ARGV[#ARGV - 2])
if last <= seen then
    return 0
end
redis.call('SET', KEYS[1], ARGV[#ARGV - 2], 'EX', ARGV[1])
for i = 2, #ARGV, 3 do
    if tonumber(ARGV[i]) > seen then
        redis.call('PUBLISH', ARGV[i + 1], ARGV[i + 2])
    end
end
return 1
""")


#: Pairs of a channel and a text that are published together.
Post: TypeAlias = tuple[tuple[str, str], ...]


def send(announcement: Announcement) -> None:
    """Queue an announcement; this does not block or open a connection."""
    message = announcement.message()
    posts = [(channel, message) for channel in announcement.channels()]
    _put((*posts, (server_channel(), announcement.pack())))


def send_gap() -> None:
    """Queue the message that changes may be missing."""
    _put(((server_channel(), GAP),))


def _put(post: Post) -> None:
    publisher = get_publisher()
    publisher.queues.get(ChannelWriter).put(post)
    publisher.flush_at_end()


def server_channel() -> str:
    """Return the channel for ``pubsub_server``."""
    return f"{get_settings().replay_prefix}:pubsub"


class ChannelWriter:
    """The queue of one process, which the publisher's loop empties."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._queue: Queue[Post] = Queue(
            loop,
            self._publish,
            batch=BATCH,
            on_full=self._drop_oldest,
            drained=on_empty,
        )
        # Only used on the loop:
        self._key = secrets.token_hex(8)
        self._number = 0
        self._host: Mapping[str, Any] | None = None
        self._clients: Clients | None = None
        self._outage = OutageLog(
            logger,
            down="Pub/sub messages have to wait: %(type)s: %(error)s",
            up="Pub/sub messages are sent again.",
        )
        self._warned = False

    def put(self, post: Post) -> None:
        """Queue a post, from any thread."""
        self._queue.put(post)

    def waiting(self) -> int:
        """Return how many posts have not been published yet."""
        return self._queue.waiting()

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now has been published."""
        return self._queue.progress()

    async def work(self) -> None:
        """Publish queued posts, in order, until cancelled."""
        try:
            await self._queue.run()
        finally:
            await self._use(None)

    def _drop_oldest(self) -> None:
        if self._queue.drop_oldest(lambda _: ((server_channel(), GAP),)) is not None:
            metrics.count("dropped")

    async def _publish(self, batch: Sequence[Post]) -> None:
        call = self._call(batch)

        async def attempt() -> None:
            await self._use(self._host_in_force())
            if self._clients is not None:
                [client] = await self._clients.get()
                await client.run([call])

        await Backoff().until_done(attempt, outage=self._outage)

    def _host_in_force(self) -> Mapping[str, Any] | None:
        """Return the host to publish on; log once if there is none."""
        try:
            host = redis_host()
            problem = "The channel layer is not in Redis, and there are no REDIS_HOSTS."
        except ConfigurationError as error:
            host, problem = None, str(error)
        if host is None and not self._warned:
            self._warned = True
            logger.warning("No changes are published on Redis channels: %s", problem)
        return host

    async def _use(self, host: Mapping[str, Any] | None) -> None:
        """Use this host from now on; settings may change in tests."""
        if host == self._host:
            return
        self._host, old = host, self._clients
        self._clients = None if host is None else Clients([host])
        if old is not None:
            await old.aclose()

    def _call(self, batch: Sequence[Post]) -> ScriptCall:
        args: list[str | int] = [MEMORY]
        for post in batch:
            self._number += 1
            for channel, text in post:
                args += [self._number, channel, text]
        key = f"{server_channel()}:{self._key}"
        return ScriptCall(0, _PUBLISH, (key,), tuple(args))
