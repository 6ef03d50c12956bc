"""
Repairs, which read messages that the channel layer lost from the replay log.

During a repair, a topic keeps live messages until the missing ones are delivered, so
that the order is right. If the log cannot prove that it has all of them, the topic's
subscribers get a gap instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from turbo.delivery.envelope import Envelope
from turbo.delivery.groups import Groups
from turbo.delivery.topic import Topic, read_log, read_tips
from turbo.replay.base import History
from turbo.runtime.backoff import Backoff
from turbo.runtime.tasks import Tasks

__all__ = ["Repairs"]


class Repairs:
    """The repairs of one hub."""

    def __init__(self, tasks: Tasks, groups: Groups) -> None:
        self._tasks = tasks
        self._groups = groups
        self._repairing: set[Topic] = set()

    def take(self, topic: Topic, envelopes: Iterable[Envelope]) -> None:
        """Deliver ``envelopes`` in order; start a repair if a number is missing."""
        for envelope in envelopes:
            if topic.take(envelope):
                self.start([topic])

    def resume(self, topic: Topic) -> None:
        """Deliver the messages that a new topic kept until its position was known."""
        if topic not in self._repairing:
            self.take(topic, topic.resume())

    def start(self, topics: Iterable[Topic]) -> None:
        """Read the messages that ``topics`` miss, with one read for all."""
        damaged = [topic for topic in topics if topic not in self._repairing]
        if damaged:
            self._repairing.update(damaged)
            for topic in damaged:
                topic.hold()
            self._tasks.run(self._read(damaged))

    async def compare_tips(self, topics: Iterable[Topic]) -> list[Topic]:
        """Repair and return the ``topics`` whose last message did not arrive."""
        settled = [topic for topic in topics if topic.settled and topic.epoch]
        if not settled:
            return []
        sids, before = [topic.sid for topic in settled], [t.number for t in settled]
        tips = await read_tips(sids, self._groups.channel)
        compared = zip(settled, tips, before, strict=True)
        missing = [topic for topic, tip, seen in compared if topic.misses(tip, seen)]
        self.start(missing)
        return missing

    async def _read(self, topics: list[Topic]) -> None:
        async def attempt() -> list[History]:
            for topic in topics:
                topic.hold()
            places = [(topic.sid, topic.position or "?") for topic in topics]
            return await read_log(places, self._groups.channel)

        # An outage is reported by the hub's listener.
        histories = await Backoff().until_done(attempt)
        for topic, history in zip(topics, histories, strict=True):
            self._repairing.discard(topic)
            self.take(topic, topic.repair(history))
