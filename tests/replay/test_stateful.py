"""Whatever is done to them, the log in memory and the one in Redis answer alike."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.support.replay_backends import moment_after, redis_log
from tests.support.servers import Valkey
from turbo.replay import Append, History, ReplayLog
from turbo.replay.memory import MemoryReplay

_runs = count()

streams = st.sampled_from("abc")
appends = st.tuples(
    streams,
    st.one_of(st.none(), st.text(max_size=3)),
    st.sampled_from(["", "j", "k"]),
    st.sampled_from(["", "me", "other"]),
)


class TwoLogs(RuleBasedStateMachine):
    """Two logs of three messages a stream; epochs and moments are their own."""

    server: Valkey
    moments = Bundle("moments")
    positions = Bundle("positions")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.prefix = f"run{next(_runs)}"
        self.logs: list[ReplayLog] = [
            MemoryReplay(length=3),
            redis_log(self.server, length=3, prefix=self.prefix),
        ]

    def both(self, method: str, *arguments: list[Any]) -> list[Any]:
        """Return both answers; ``arguments`` are a pair, or one for both."""
        pair = arguments if len(arguments) == 2 else arguments * 2
        return [
            self.runner.run(getattr(log, method)(argument))
            for log, argument in zip(self.logs, pair, strict=True)
        ]

    @initialize()
    def sync(self) -> None:
        for log in self.logs:
            self.runner.run(log.sync_clock())

    @rule(target=moments)
    def take_moment(self) -> tuple[str, ...]:
        # Later than everything so far in every stream, so that none is repeated.
        return tuple(self.runner.run(self._moment(log)) for log in self.logs)

    async def _moment(self, log: ReplayLog) -> str:
        for stream in "abc":
            moment = await moment_after(log, stream)
        return moment

    @rule(target=positions, stream=streams, back=st.integers(-1, 5))
    def take_position(self, stream: str, back: int) -> tuple[str, tuple[str, ...]]:
        [[first], [second]] = self.both("read", [(stream, "")])
        assert first.tip == second.tip
        return stream, tuple(f"{h.epoch}:{h.tip - back}" for h in (first, second))

    @rule(batch=st.lists(appends, max_size=5))
    def append(self, batch: list[tuple[str, str | None, str, str]]) -> None:
        appended = self.both("append", [Append(*item) for item in batch])
        self.compare_places(appended)

    @rule(batch=st.lists(appends, max_size=3), moment=moments)
    def append_with_moment(
        self, batch: list[tuple[str, str | None, str, str]], moment: tuple[str, ...]
    ) -> None:
        pair = ([Append(*item, own) for item in batch] for own in moment)
        self.compare_places(self.both("append", *pair))

    def compare_places(self, appended: list[Any]) -> None:
        places = [[(p.number, p.overtaken) for p in places] for places in appended]
        assert places[0] == places[1]

    @rule(stream=streams, moment=moments)
    def read_since_moment(self, stream: str, moment: tuple[str, ...]) -> None:
        self.compare(self.both("read", *([(stream, own)] for own in moment)))

    @rule(place=positions)
    def read_since_position(self, place: tuple[str, tuple[str, ...]]) -> None:
        stream, pair = place
        self.compare(self.both("read", *([(stream, own)] for own in pair)))

    @rule(stream=streams, since=st.sampled_from(["", "?", "x:1"]))
    def read_since(self, stream: str, since: str) -> None:
        self.compare(self.both("read", [(stream, since)]))

    def compare(self, answers: list[list[History]]) -> None:
        [[first], [second]] = answers
        assert first.complete == second.complete
        assert first.tip == second.tip
        assert first.entries == second.entries

    @rule()
    def tips(self) -> None:
        first, second = (
            [tip and tip[1] for tip in tips] for tips in self.both("tips", list("abc"))
        )
        assert first == second

    def teardown(self) -> None:
        self.runner.close()


@pytest.mark.slow
def test_memory_and_redis_answer_alike(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoLogs, "server", valkey, raising=False)

    run_state_machine_as_test(
        TwoLogs,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
