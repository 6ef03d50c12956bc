"""
A message crosses the layer once for each process that shows its stream.

The log in Redis knows these processes, so what a process is sent at one time is one
message, whatever the streams, and a stream that nobody shows costs nothing. What the
log may have forgotten is sent to all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.test import override_settings

from tests.support.servers import PATIENCE, Valkey, channel_layer
from turbo.delivery import unnumbered
from turbo.delivery.broadcast import broadcast, flush, pass_on, shut_down
from turbo.delivery.envelope import Envelope, unpack
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.names import EVERY, group_name, stream_id
from turbo.delivery.protocol import message_frame
from turbo.delivery.publisher import _addressed
from turbo.replay import get_replay
from turbo.replay.base import Append, Appended, RoutingLog
from turbo.replay.redis import RedisReplay

ROOMS = [f"tests:Room:{number}" for number in range(5)]
SIDS = [stream_id(name) for name in ROOMS]
#: What the layer was given, and where: ``send`` or ``group_send``, and the address.
sent: list[tuple[str, str, Any]] = []


class Noting:
    """A layer that notes what it is given, and can be full."""

    full = False

    async def send(self, channel: str, message: Any) -> None:
        sent.append(("send", channel, message))
        if Noting.full:
            raise ChannelFull
        await self.really("send", channel, message)

    async def group_send(self, group: str, message: Any) -> None:
        sent.append(("group_send", group, message))
        await self.really("group_send", group, message)

    async def really(self, name: str, address: str, message: Any) -> None:
        raise NotImplementedError


class NotingRedis(Noting, RedisChannelLayer):  # type: ignore[misc]
    async def really(self, name: str, address: str, message: Any) -> None:
        await getattr(RedisChannelLayer, name)(self, address, message)


class NotingPubSub(Noting, RedisPubSubChannelLayer):  # type: ignore[misc]
    async def really(self, name: str, address: str, message: Any) -> None:
        await getattr(self._get_layer(), name)(address, message)


@pytest.fixture(params=["redis", "pubsub"], autouse=True)
def server(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[Valkey]:
    valkey.flush()
    layer = channel_layer(request.param, valkey.url)
    own = {"redis": NotingRedis, "pubsub": NotingPubSub}[request.param]
    layer["BACKEND"] = f"{__name__}.{own.__name__}"
    quiet = {"TIP_INTERVAL": 3_600, "HEARTBEAT": 3_600, "RECHECK_INTERVAL": 3_600}
    with override_settings(CHANNEL_LAYERS={"default": layer}, TURBO=quiet):
        yield valkey
        Noting.full = False
        shut_down(5)
    sent.clear()


class Page:
    """A connection that counts what it is told."""

    def __init__(self) -> None:
        self.told = asyncio.Semaphore(0)
        self.frames: list[str] = []

    def deliver(self, frame: Frame) -> None:
        self.frames.append(frame.text)
        self.told.release()

    def apply_revocation(self, revocation: str | None) -> None:
        pass

    async def hears(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in range(count):
                await self.told.acquire()


@pytest_asyncio.fixture
async def page() -> AsyncIterator[Page]:
    """A page of this process with the first three rooms."""
    page = Page()
    get_hub().connect(page)
    await show(page, SIDS[:3])
    yield page
    await get_hub().disconnect(page)


async def show(page: Page, sids: list[str]) -> None:
    get_hub().settle(await get_hub().subscribe(page, [(sid, "") for sid in sids]))


def log() -> RoutingLog:
    found = get_replay()
    assert isinstance(found, RoutingLog)
    return found


def grow_old(valkey: Valkey, *, seconds: int = 9_000) -> None:
    """Let the epochs of the streams be so old."""
    with valkey.client() as client:
        now, _ = client.time()
        for key in client.keys("turbo:*:meta"):
            client.hset(key, "f", (now - seconds) * 1_000_000)


async def say(*rooms: str) -> None:
    """Broadcast to each room, together."""
    sent.clear()
    await sync_to_async(lambda: [broadcast(room, "a") for room in rooms])()
    assert await sync_to_async(flush)(PATIENCE)


def own_channel() -> str:
    return get_hub()._groups.channel


async def test_streams_of_one_process_share_a_message(
    page: Page, server: Valkey
) -> None:
    grow_old(server)

    [first, *_] = await log().append([Append(sid, "a") for sid in SIDS[:3]])
    await say(ROOMS[0], ROOMS[1], ROOMS[2], ROOMS[0])
    await page.hears(3 + 4)

    assert first.shown_by == (own_channel(),)
    assert {(how, to) for how, to, _ in sent} == {("send", own_channel())}
    assert len(sent) <= 4, "as many as the publisher made batches of them"


async def test_a_batch_is_one_message_for_each_process(
    page: Page, server: Valkey
) -> None:
    other = await get_channel_layer().new_channel()
    await log().read([(sid, "") for sid in SIDS[2:]], channel=other)
    grow_old(server)

    appended = await log().append([Append(sid, "a") for sid in SIDS])

    both = {own_channel(), other}
    assert [set(place.shown_by or ()) for place in appended] == [
        {own_channel()},
        {own_channel()},
        both,
        {other},
        {other},
    ]


async def test_large_messages_of_several_streams_go_in_portions(
    page: Page, server: Valkey
) -> None:
    """What waits for a process must not be more than Redis keeps for a connection."""
    grow_old(server)
    places = await log().append([Append(sid, "a" * 200_000) for sid in SIDS[:3]])

    batch = [Append(sid, "a" * 200_000) for sid in SIDS[:3]]
    portions = [unpack(message)[0] for _, _, message in _addressed(batch, places)]

    assert [[e.sid for e in some] for some in portions] == [[sid] for sid in SIDS[:3]]


async def test_a_stream_that_nobody_shows_costs_nothing(
    page: Page, server: Valkey
) -> None:
    await log().read([(SIDS[4], "")])
    grow_old(server)

    await say(ROOMS[4])

    assert sent == []


async def test_an_epoch_is_sent_to_all_until_all_have_compared(
    page: Page, server: Valkey
) -> None:
    """The server may have lost who shows the stream, together with everything else."""
    grow_old(server, seconds=7_000)  # with an interval of 3,600

    await say(ROOMS[0])
    await page.hears(1)

    [(how, group, message)] = sent
    assert (how, group) == ("group_send", group_name(EVERY))
    assert unpack(message)[1], "who does not show the stream need not leave it"


def test_a_log_that_does_not_know_processes_says_nothing_of_them() -> None:
    """Also if it passes on what one that does has answered."""
    places = [Appended("e", 1, shown_by=())]

    with override_settings(
        TURBO={"REPLAY_BACKEND": "turbo.replay.memory.MemoryReplay"}
    ):
        [(how, group, message)] = _addressed([Append("s", "a")], places)

    assert (how, group) == ("group_send", group_name("s"))
    assert unpack(message) == ([Envelope("s", "e", 1, ("a",))], False)


# --- Unnumbered messages


async def test_an_unnumbered_message_is_for_who_shows_the_stream(
    page: Page, server: Valkey
) -> None:
    grow_old(server)
    sent.clear()

    for room in (ROOMS[4], ROOMS[0]):
        await sync_to_async(pass_on)(room, "a")
    await page.hears(1)

    assert page.frames == [message_frame(SIDS[0], position="", data="a")]
    [(how, to, message)] = sent
    assert (how, to) == ("send", own_channel())
    assert unpack(message) == ([Envelope(SIDS[0], "", 0, ("a",))], False)


async def test_an_unnumbered_message_does_not_write_to_the_log(
    page: Page, server: Valkey
) -> None:
    grow_old(server)
    [before] = await log().tips(SIDS[:1])
    with server.client() as client:
        keys = {key: client.dump(key) for key in client.keys("turbo:*")}

    await sync_to_async(pass_on)(ROOMS[0], "a")
    await page.hears(1)

    assert [before] == await log().tips(SIDS[:1])
    with server.client() as client:
        assert keys == {key: client.dump(key) for key in client.keys("turbo:*")}


async def test_who_shows_a_stream_is_asked_once_a_second(
    page: Page, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow_old(server)
    asked, shown_by = [], log().shown_by

    async def ask(streams: Sequence[str]) -> list[tuple[str, ...] | None]:
        asked.append(list(streams))
        return await shown_by(streams)

    monkeypatch.setattr(log(), "shown_by", ask)
    monkeypatch.setattr(unnumbered, "AGE", 3_600)

    for _ in range(5):
        await sync_to_async(pass_on)(ROOMS[0], "a")
    await page.hears(5)
    assert asked == [SIDS[:1]]

    monkeypatch.setattr(unnumbered, "AGE", 0)
    await sync_to_async(pass_on)(ROOMS[0], "a")
    await page.hears(1)
    assert asked == [SIDS[:1], SIDS[:1]]


async def test_an_unnumbered_message_of_a_young_epoch_is_for_all(
    page: Page, server: Valkey
) -> None:
    sent.clear()

    await sync_to_async(pass_on)(ROOMS[0], "a")
    await page.hears(1)

    [(how, group, _)] = sent
    assert (how, group) == ("group_send", group_name(EVERY))


async def test_an_unnumbered_message_does_not_wait_for_an_outage(
    page: Page, server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(
        TURBO={"REPLAY_BACKEND": f"{__name__}.Away", "TIP_INTERVAL": 3_600}
    ):
        await sync_to_async(pass_on)(ROOMS[0], "a")
        assert await sync_to_async(flush)(PATIENCE)

    assert "Broadcasts have to wait: ConnectionError: away" in caplog.messages


class Away(RedisReplay):
    """A log that does not answer."""

    async def shown_by(self, streams: Sequence[str]) -> list[tuple[str, ...] | None]:
        raise ConnectionError("away")


# --- What may be lost


async def test_who_has_left_is_sent_nothing(page: Page, server: Valkey) -> None:
    grow_old(server)

    get_hub().unsubscribe(page, [SIDS[0]])
    async with asyncio.timeout(PATIENCE):
        while get_hub()._leaving:  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0.01)
    await say(ROOMS[0])

    assert sent == []


async def test_who_comes_while_the_process_leaves_is_sent_everything(
    page: Page, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note that it left must not come after the one that it is back."""
    grow_old(server)
    begun, may_go_on, hide = asyncio.Event(), asyncio.Event(), log().hide

    async def slow(stream: str, channel: str) -> None:
        begun.set()
        await may_go_on.wait()
        await hide(stream, channel)

    monkeypatch.setattr(log(), "hide", slow)
    get_hub().unsubscribe(page, [SIDS[0]])
    await begun.wait()
    coming = asyncio.ensure_future(show(page, [SIDS[0]]))
    await asyncio.sleep(0)
    may_go_on.set()
    await coming

    await say(ROOMS[0])
    await page.hears(1)
    assert [how for how, *_ in sent] == ["send"]


async def test_a_process_that_was_forgotten_is_found_with_the_next_comparison(
    page: Page, server: Valkey
) -> None:
    grow_old(server)
    with server.client() as client:
        client.delete(*client.keys("turbo:*:shown"))
    await say(ROOMS[0])
    assert sent == []

    await get_hub()._check_groups()
    await page.hears(1)
    await say(ROOMS[0])

    await page.hears(1)
    assert [how for how, *_ in sent] == ["send"]


@pytest.mark.parametrize("server", ["pubsub"], indirect=True)
async def test_a_channel_that_the_layer_does_not_hear_is_subscribed_again(
    page: Page, server: Valkey
) -> None:
    """A layer may believe to be subscribed, and do nothing when asked to subscribe."""
    grow_old(server)
    layer = get_channel_layer()._get_layer()
    await layer._get_shard(own_channel())._pubsub.unsubscribe(own_channel())
    await say(ROOMS[0])

    await get_hub()._check_groups()
    await page.hears(1)
    await say(ROOMS[0])

    await page.hears(1)
    assert [how for how, *_ in sent] == ["send"]


async def test_a_full_channel_is_a_hole_that_is_found(
    page: Page, server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    grow_old(server)
    Noting.full = True
    await say(ROOMS[0])
    Noting.full = False

    await say(ROOMS[0])

    await page.hears(2)
    assert caplog.text == "", "it is no outage"


async def test_a_hub_that_ends_leaves_the_group_of_all(server: Valkey) -> None:
    """Otherwise the layer would keep messages for a channel that nobody reads."""
    page = Page()
    get_hub().connect(page)
    await show(page, SIDS[:1])
    groups = get_hub()._groups
    assert EVERY in groups._joined

    await get_hub().disconnect(page)

    assert groups._joined == set()
    await say(ROOMS[0])
    layer = get_channel_layer()
    if isinstance(layer, RedisChannelLayer):
        with server.client() as client:
            assert client.keys("asgi:group:*") == []
    else:
        assert group_name(EVERY) not in layer._get_layer().groups


async def test_a_process_that_was_killed_is_forgotten(
    page: Page, server: Valkey
) -> None:
    """Each process says anew that it is there; who does not for long is dead."""
    await log().read([(SIDS[0], "")], channel="dead")
    grow_old(server)
    with server.client() as client:
        [key] = [key for key in client.keys("turbo:*:shown") if SIDS[0] in key]
        assert 0 < client.ttl(key) <= 6 * 3_600
        client.zadd(key, {"dead": 1})

    [place] = await log().append([Append(SIDS[0], "a")])
    await log().read([(SIDS[0], "")], channel=own_channel())

    assert place.shown_by == (own_channel(),)
    with server.client() as client:
        assert client.zrange(key, 0, -1) == [own_channel()]
