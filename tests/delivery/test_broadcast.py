"""Handing a broadcast over costs its caller nothing, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer
from django.test import override_settings

import turbo
from tests.support.connects import counting_connects
from tests.support.servers import PATIENCE, ROOT, channel_layer, wait_until
from turbo import metrics
from turbo.delivery import broadcast as module
from turbo.delivery.broadcast import broadcast, flush, get_publisher, moment, shut_down
from turbo.delivery.envelope import unpack
from turbo.delivery.names import EVERY, group_name, stream_id
from turbo.delivery.recorders import recording
from turbo.replay import get_replay
from turbo.replay.base import Append, Appended
from turbo.replay.memory import MemoryReplay
from turbo.runtime import loops
from turbo.runtime.context import Cause, cause_scope, request_scope

NAME = "tests:Stream"
SID = stream_id(NAME)


@pytest.fixture
def redis_layer(valkey: Any) -> Iterator[Any]:
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer("redis", valkey.url)}
    ):
        yield valkey
        shut_down(5)


def stored(sid: str = SID) -> list[str | None]:
    """Return what the log holds for the stream."""

    async def read() -> list[str | None]:
        (tip,) = await get_replay().tips([sid])
        assert tip is not None
        first = max(0, tip[1] - 100)
        (history,) = await get_replay().read([(sid, f"{tip[0]}:{first}")])
        await get_replay().aclose()
        return [entry.data for entry in history.entries]

    return asyncio.run(read())


def test_messages_are_stored_in_order(redis_layer: Any) -> None:
    for n in range(300):
        broadcast(NAME, str(n))

    assert flush(PATIENCE)
    assert stored() == [str(n) for n in range(200, 300)]


def test_a_thousand_broadcasts_open_no_further_connection(redis_layer: Any) -> None:
    broadcast(NAME, "first")
    assert flush(PATIENCE)
    client = redis_layer.client()
    before = client.info("stats")["total_connections_received"]

    threads = [
        threading.Thread(target=lambda: [broadcast(NAME, "x") for _ in range(100)])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flush(PATIENCE)

    assert client.info("stats")["total_connections_received"] == before
    client.close()


async def test_the_layer_gets_the_message_with_its_position(redis_layer: Any) -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group_name(EVERY), channel)

    broadcast(NAME, "a")
    message = await asyncio.wait_for(layer.receive(channel), PATIENCE)

    [envelope], is_for_all = unpack(message)
    assert (envelope.sid, envelope.number, envelope.data) == (SID, 1, ("a",))
    assert is_for_all


def test_a_recorder_can_keep_a_broadcast_to_itself(redis_layer: Any) -> None:
    before = metrics.counters()["published"]

    with recording(lambda name, data: False):
        broadcast(NAME, "a")

    assert flush(PATIENCE)
    assert metrics.counters()["published"] == before


def test_flush_without_a_publisher_has_nothing_to_do() -> None:
    shut_down()

    assert flush()
    assert module._publisher is None


def test_a_moment_is_known_after_the_first_time(redis_layer: Any) -> None:
    assert moment().startswith("@")
    assert get_publisher().moment().startswith("@")


def test_a_moment_nobody_can_tell_is_a_question_mark_and_costs_little() -> None:
    layer = channel_layer("redis", "redis://127.0.0.1:1")
    with override_settings(CHANNEL_LAYERS={"default": layer}):
        assert moment() == "?"
        wait_until(lambda: get_publisher()._outage.is_down)
        with counting_connects() as connects:
            assert {moment() for _ in range(20)} == {"?"}
        shut_down()

    assert len(connects) < 5, "the publisher tries by itself, and is not asked to"


def test_an_outage_is_logged_once_and_what_waited_goes_out(
    redis_layer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broadcast(NAME, "before")
    assert flush(PATIENCE)
    redis_layer.kill()

    for n in range(50):
        broadcast(NAME, str(n))
    assert not flush(0.5)
    assert metrics.counters()["queue"] >= 50
    redis_layer.start()
    assert flush(PATIENCE)

    assert stored() == [str(n) for n in range(50)]
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if text.startswith("Broadcasts have")]) == 1
    assert said[-1] == "Broadcasts are sent again."


def test_a_full_queue_drops_the_oldest_and_leaves_a_gap(redis_layer: Any) -> None:
    config = {"default": channel_layer("redis", redis_layer.url)}
    with override_settings(TURBO={"PUBLISH_QUEUE": 10}, CHANNEL_LAYERS=config):
        broadcast(NAME, "before")
        assert flush(PATIENCE)
        redis_layer.kill()
        broadcast(NAME, "taken")
        wait_until(lambda: get_publisher()._outage.is_down)
        before = metrics.counters()["dropped"]
        for n in range(15):
            broadcast(NAME, str(n))
        redis_layer.start()
        assert flush(PATIENCE)

        assert metrics.counters()["dropped"] == before + 5
        assert stored() == ["taken", None, *map(str, range(5, 15))]
        shut_down()


class Fragile(MemoryReplay):
    """A log that cannot store one certain message."""

    async def append(self, appends: Any) -> Any:
        if any(item.data == "poison" for item in appends):
            raise ValueError("poison")
        return await super().append(appends)


def test_what_cannot_be_stored_is_dropped_and_leaves_a_gap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(TURBO={"REPLAY_BACKEND": f"{__name__}.Fragile"}):
        before = metrics.counters()["dropped"]

        broadcast(NAME, "poison")
        assert flush(PATIENCE)
        broadcast(NAME, "after")
        assert flush(PATIENCE)

        assert stored() == [None, "after"]
        assert metrics.counters()["dropped"] == before + 1
        assert "1 broadcasts could not be stored" in caplog.text


class Unusable(MemoryReplay):
    """A log that can store nothing at all, until it is repaired."""

    is_repaired = False
    refused: ClassVar[list[str | None]] = []

    async def append(self, appends: Any) -> Any:
        if not Unusable.is_repaired:
            Unusable.refused += [item.data for item in appends]
            raise ValueError("There is no such place.")
        return await super().append(appends)

    async def sync_clock(self) -> None:
        if not Unusable.is_repaired:
            raise ValueError("There is no such place.")


@pytest.fixture
def unusable_log(settings: Any) -> Iterator[None]:
    Unusable.is_repaired, Unusable.refused[:] = False, []
    settings.TURBO = {"REPLAY_BACKEND": f"{__name__}.Unusable"}
    yield
    shut_down()


def test_a_log_that_stores_not_even_a_gap_is_waited_for(
    unusable_log: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: the publisher's thread did nothing else, and could not be ended."""
    broadcast(NAME, "a")
    wait_until(lambda: None in Unusable.refused)
    assert set(Unusable.refused) == {"a", None}
    Unusable.is_repaired = True

    broadcast(NAME, "b")
    assert flush(PATIENCE)

    assert stored() == [None, "b"]
    assert caplog.text.count("Broadcasts have to wait: ValueError") == 1


def test_what_an_ended_publisher_has_left_is_not_counted(unusable_log: None) -> None:
    """Regression: a forked process told of its parent's queue until it broadcast."""
    broadcast(NAME, "a")
    wait_until(lambda: get_publisher()._outage.is_down)
    assert metrics.counters()["queue"] == 1

    shut_down()

    assert metrics.counters()["queue"] == 0


class Uncountable(MemoryReplay):
    """A log that once answers what nobody has foreseen."""

    async def append(self, appends: Any) -> Any:
        places = await super().append(appends)
        return [] if any(item.data == "odd" for item in appends) else places


def test_the_publisher_survives_what_nobody_has_foreseen(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: its task ended with a line at INFO, and nothing was sent any more."""
    settings.TURBO = {"REPLAY_BACKEND": f"{__name__}.Uncountable"}
    before = metrics.counters()["failed"]
    broadcast(NAME, "odd")
    assert flush(PATIENCE)
    broadcast(NAME, "even")
    assert flush(PATIENCE)

    assert stored() == ["odd", "even"]
    assert metrics.counters()["failed"] == before + 1
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info
    assert record.exc_info[0] is ValueError
    shut_down()


def test_what_is_no_string_is_the_callers_error() -> None:
    with pytest.raises(TypeError, match="A broadcast is a string, not 3"):
        broadcast(NAME, 3)  # type: ignore[arg-type]


def test_half_a_character_is_replaced(redis_layer: Any) -> None:
    broadcast(NAME, "a\ud800b")
    assert flush(PATIENCE)

    assert stored() == ["a?b"]


def test_an_overtaken_rendering_is_followed_by_a_gap(redis_layer: Any) -> None:
    moment()
    early = get_replay().moment()
    mine, other = Cause("a.B:1", "me", early), Cause("a.B:1", "other", early)

    with cause_scope(other):
        broadcast(NAME, "newer")
    with cause_scope(mine):
        broadcast(NAME, "older")
    assert flush(PATIENCE)

    assert stored() == ["newer", "older", None]


def test_two_objects_that_overwrite_one_target_are_overtaken_too(
    redis_layer: Any,
) -> None:
    moment()
    early = get_replay().moment()

    with cause_scope(Cause("a.B:1", "other", early)):
        broadcast(NAME, "newer", targets=["count"])
    with cause_scope(Cause("a.B:2", "me", early)):
        broadcast(NAME, "elsewhere", targets=["total"])
    with cause_scope(Cause("a.B:3", "me", early)):
        broadcast(NAME, "older", targets=["count"])
    assert flush(PATIENCE)

    assert stored() == ["newer", "elsewhere", "older", None]


class Passing(turbo.Stream):
    """A stream whose own methods see what it sends."""

    class Meta:
        app_label = "tests"

    def stream(self, frame: Any) -> None:
        super().stream(frame)

    def stream_raw(self, text: str) -> None:
        super().stream_raw(text)


def test_verbs_of_a_stream_that_overrides_them_are_overtaken_too(
    redis_layer: Any,
) -> None:
    moment()
    early = get_replay().moment()

    with cause_scope(Cause("a.B:1", "other", early)):
        Passing().update(text="newer", id="count")
    with cause_scope(Cause("a.B:2", "me", early)):
        Passing().update(text="elsewhere", id="total")
        Passing().update(text="older", id="count")
    assert flush(PATIENCE)

    targets = [text and text.split('"')[3] for text in stored(Passing().stream_id)]
    assert targets == ["count", "total", "count", None]


def test_many_refreshes_of_a_stream_that_overrides_them_are_sent_first_and_last(
    redis_layer: Any,
) -> None:
    with override_settings(TURBO={"REFRESH_INTERVAL": 600, "REFRESH_MAX_WAIT": 600}):
        moment()
        for n in range(100):
            with request_scope(str(n)):
                Passing().refresh()
        assert flush(PATIENCE)

        assert len(stored(Passing().stream_id)) <= 2


def test_many_alike_are_sent_first_and_last(redis_layer: Any) -> None:
    with override_settings(TURBO={"REFRESH_INTERVAL": 600, "REFRESH_MAX_WAIT": 600}):
        moment()
        for n in range(100):
            broadcast(NAME, f"refresh {n}", summary="refresh")
        assert flush(PATIENCE)

        first, *rest = stored()
    assert first in ("refresh 0", "refresh")  # if the next came before its turn
    assert rest in ([], ["refresh"], ["refresh 99"])


class Shaky(BaseChannelLayer):  # type: ignore[misc]
    """A layer whose next sends fail."""

    failures = 0

    async def group_send(self, group: str, message: Any) -> None:
        if Shaky.failures:
            Shaky.failures -= 1
            raise ConnectionError("no layer")


@pytest.mark.parametrize(("failures", "said"), [(1, 0), (2, 1)])
def test_what_the_layer_refuses_is_tried_again_once_and_then_left_to_the_log(
    failures: int, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    layers = {"default": {"BACKEND": f"{__name__}.Shaky"}}
    with override_settings(CHANNEL_LAYERS=layers):
        Shaky.failures = failures

        broadcast(NAME, "a")
        assert flush(PATIENCE)

        assert (Shaky.failures, stored()) == (0, ["a"])
        assert caplog.text.count("have to wait: ConnectionError") == said
        shut_down()


class Recording(BaseChannelLayer):  # type: ignore[misc]
    """A layer that keeps what it is given."""

    sent: ClassVar[list[Any]] = []

    async def group_send(self, group: str, message: Any) -> None:
        Recording.sent.append(message)


class Forgetful(MemoryReplay):
    """A log that does not know whether it has stored the messages before."""

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        gaps = [item._replace(data=None) for item in appends]
        return [place._replace(is_gap=True) for place in await super().append(gaps)]


def test_what_was_stored_as_a_gap_is_sent_as_a_gap() -> None:
    """A page must not show a message that the log holds as a gap marker."""
    Recording.sent.clear()
    with override_settings(
        CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.Recording"}},
        TURBO={"REPLAY_BACKEND": f"{__name__}.Forgetful"},
    ):
        broadcast(NAME, "a")
        assert flush(PATIENCE)
        shut_down()

    [([envelope], _)] = map(unpack, Recording.sent)
    assert envelope.data == (None,)


class Meeting(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer that is ready when two threads have asked for it."""

    barrier = threading.Barrier(2)

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        Meeting.barrier.wait(PATIENCE)


def test_threads_that_broadcast_first_at_once_share_one_publisher() -> None:
    shut_down()
    found: list[Any] = []
    layers = {"default": {"BACKEND": f"{__name__}.Meeting"}}
    with override_settings(CHANNEL_LAYERS=layers):
        threads = [
            threading.Thread(target=lambda: found.append(get_publisher()))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shut_down()

    assert not Meeting.barrier.broken
    assert found[0] is found[1]


def test_a_queue_without_room_drops_what_waits_and_no_more() -> None:
    with override_settings(TURBO={"PUBLISH_QUEUE": 0}):
        broadcast(NAME, "a")
        assert flush(PATIENCE)

        assert stored() == ["a"]


async def test_names_are_resolved_without_an_executor() -> None:
    loop = get_publisher()._loop

    found = asyncio.run_coroutine_threadsafe(loop.getaddrinfo("127.0.0.1", 80), loop)

    assert (await asyncio.wrap_future(found))[0][-1] == ("127.0.0.1", 80)


async def test_without_a_layer_messages_are_only_stored() -> None:
    with override_settings(CHANNEL_LAYERS={}):
        broadcast(NAME, "a")
        assert await asyncio.to_thread(flush, PATIENCE)


def test_a_process_that_nobody_can_hear_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_expected", False)
    monkeypatch.setattr(loops, "_loop", None)

    for _ in range(3):
        broadcast(NAME, "a")
        assert flush(PATIENCE)

    said = [r for r in caplog.records if "process reach no pages" in r.message]
    assert len(said) == 1


def test_a_revocation_outlasts_an_outage(redis_layer: Any) -> None:
    redis_layer.kill()
    get_publisher().forbid(["user=1"], seconds=60)
    assert not flush(0.3)
    redis_layer.start()
    assert flush(PATIENCE)

    async def forbidden() -> Any:
        times = await get_replay().forbidden(["user=1", "user=2"])
        await get_replay().aclose()
        return times

    since, never = asyncio.run(forbidden())
    assert since is not None
    assert never is None


SCRIPT = """
import django; django.setup()
from turbo.delivery.broadcast import broadcast
for n in range({count}): broadcast({name!r}, str(n))
{end}
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_script_that_ends_at_once_still_sends_all(
    valkey: Any, make_project: Callable[..., Any], host: str, redis_layer: Any
) -> None:
    project = make_project("redis", redis=valkey.url.replace("127.0.0.1", host))
    script = SCRIPT.format(count=100, name=NAME, end="")

    subprocess.run(
        [sys.executable, "-c", script],
        env=project.env,
        cwd=ROOT,
        check=True,
        timeout=2 * PATIENCE,
    )

    assert stored() == [str(n) for n in range(100)]


def test_a_script_that_ends_while_redis_is_away_waits_for_a_bounded_time(
    make_project: Callable[..., Any],
) -> None:
    project = make_project(
        "redis", redis="redis://127.0.0.1:1", TURBO={"FLUSH_TIMEOUT": 0.5}
    )
    script = SCRIPT.format(count=1, name=NAME, end="")

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=project.env,
        cwd=ROOT,
        timeout=2 * PATIENCE,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "Broadcasts have to wait" in done.stderr


FORK = """
import os
pid = os.fork()
if not pid:
    broadcast({name!r}, "child")
    from turbo import flush; flush()
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_a_forked_process_sends_its_own_and_not_its_parents(
    valkey: Any, make_project: Callable[..., Any], redis_layer: Any
) -> None:
    script = SCRIPT.format(count=5, name=NAME, end=FORK.format(name=NAME))

    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=make_project("redis").env,
        cwd=ROOT,
        check=True,
        timeout=2 * PATIENCE,
    )

    assert sorted(map(str, stored())) == sorted([*map(str, range(5)), "child"])


def test_flush_from_the_publishers_own_thread_does_not_wait_for_itself() -> None:
    publisher = get_publisher()
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(publisher.flush(PATIENCE))

    asyncio.run_coroutine_threadsafe(ask(), publisher._loop).result(PATIENCE)

    assert answers == [False]
