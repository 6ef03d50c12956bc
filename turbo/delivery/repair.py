"""
Repairs: what the channel layer lost is read from the replay log.

A topic under repair keeps what arrives live until the missing messages are delivered,
so the order holds. When the log cannot prove that it has all of them, the topic's
subscribers are told of a gap instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from turbo.delivery.envelope import Envelope
from turbo.delivery.topic import Topic
from turbo.replay import get_replay
from turbo.runtime.backoff import Backoff
from turbo.runtime.tasks import Tasks

__all__ = ["Repairs"]


class Repairs:
    """The repairs of one hub."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._repairing: set[Topic] = set()

    def take(self, topic: Topic, envelopes: Iterable[Envelope]) -> None:
        """Deliver ``envelopes`` in order, repairing where a number is missing."""
        for envelope in envelopes:
            if topic.take(envelope):
                self.start([topic])

    def resume(self, topic: Topic) -> None:
        """Deliver what a new topic kept until its position was known."""
        if topic not in self._repairing:
            self.take(topic, topic.resume())

    def start(self, topics: Iterable[Topic]) -> None:
        """Read what ``topics`` miss, all with one read."""
        damaged = [topic for topic in topics if topic not in self._repairing]
        if damaged:
            self._repairing.update(damaged)
            for topic in damaged:
                topic.hold()
            self._tasks.run(self._read(damaged))

    async def compare_tips(self, topics: Iterable[Topic]) -> None:
        """Repair those ``topics`` whose last message never arrived."""
        settled = [topic for topic in topics if topic.settled and topic.epoch]
        if not settled:
            return
        tips = await get_replay().tips([topic.sid for topic in settled])
        self.start(
            topic for topic, tip in zip(settled, tips, strict=True) if topic.misses(tip)
        )

    async def _read(self, topics: list[Topic]) -> None:
        # An outage is reported by the hub's listener.
        histories = await Backoff().until_done(
            lambda: get_replay().read(
                [(topic.sid, topic.position or "?") for topic in topics]
            )
        )
        for topic, history in zip(topics, histories, strict=True):
            self._repairing.discard(topic)
            self.take(topic, topic.repair(history))
