"""
The hub joins each group once, repairs what the layer loses, and survives its outages.

The layer here is Channels' own in-memory one, told when to fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.test import override_settings

from tests.support.servers import PATIENCE
from turbo import metrics
from turbo.delivery import groups
from turbo.delivery import hub as module
from turbo.delivery.envelope import Envelope, pack
from turbo.delivery.frame import Frame
from turbo.delivery.groups import Groups, get_layer
from turbo.delivery.hub import Hub, get_hub, subscribers
from turbo.delivery.names import CONTROL, group_name, stream_id
from turbo.delivery.topic import Topic
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.memory import MemoryReplay


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """An in-memory layer that fails, forgets and drops when it is told to."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.added: list[str] = []
        self.errors: list[Exception] = []
        self.down = False
        self.refused = 0
        self.broken: Exception | None = None
        self.stuck: asyncio.Event | None = None

    async def group_add(self, group: str, channel: str) -> None:
        if self.down:
            self.refused += 1
            raise ConnectionError("no layer")
        self.added.append(group)
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        if self.down:
            self.refused += 1
            raise ConnectionError("no layer")
        await super().group_discard(group, channel)

    async def receive(self, channel: str) -> Any:
        if self.broken is not None:
            raise self.broken
        message = await super().receive(channel)
        if self.errors:
            raise self.errors.pop(0)
        return message


class Log(MemoryReplay):
    """A memory log that cannot be reached when it is told so."""

    down = 0
    reads = 0

    async def read(self, requests: Any) -> Any:
        Log.reads += 1
        if Log.down:
            Log.down -= 1
            raise ConnectionError("no log")
        return await super().read(requests)


class Page:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.revocations: list[str | None] = []
        self.told = asyncio.Event()

    def deliver(self, frame: Frame) -> None:
        fields = json.loads(frame.text)
        self.heard.append(fields.get("data") or fields["type"])
        self.told.set()

    def apply_revocation(self, revocation: str | None) -> None:
        self.revocations.append(revocation)
        self.told.set()

    async def until(self, *heard: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.heard != list(heard):
                self.told.clear()
                await self.told.wait()

    async def revoked(self, *revocations: str | None) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.revocations[: len(revocations)] != list(revocations):
                self.told.clear()
                await self.told.wait()


CONFIG = {
    "CHANNEL_LAYERS": {"default": {"BACKEND": f"{__name__}.Layer"}},
    "TURBO": {
        "REPLAY_BACKEND": f"{__name__}.Log",
        "TIP_INTERVAL": 3600,
        "HEARTBEAT": 3600,
    },
}


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    Log.down = 0
    with override_settings(**CONFIG):
        yield


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    hub = get_hub()
    hub.connect(page)
    yield page
    await hub.disconnect(page)


async def subscribe(page: Page, sid: str = "s", since: str = "") -> list[Any]:
    hub = get_hub()
    arrivals = await hub.subscribe(page, [(sid, since)])
    for arrival in arrivals:
        for frame in arrival.frames:
            page.deliver(frame)
    hub.settle(arrivals)
    return arrivals


async def publish(*data: str | None, sid: str = "s", lost: bool = False) -> None:
    """Append to the log, and send through the layer unless it loses the message."""
    places = await get_replay().append([Append(sid, item) for item in data])
    if not lost:
        envelope = Envelope(sid, places[0].epoch, places[0].number, data)
        await layer().group_send(group_name(sid), pack([envelope]))


async def controlled() -> None:
    """Wait until the hub hears the control stream."""
    await until(lambda: get_hub().subscribers().get(stream_id(CONTROL)) == 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0.01)


def layer() -> Any:
    return get_channel_layer()


async def test_one_group_serves_all_subscribers(page: Page) -> None:
    other = Page()
    get_hub().connect(other)
    await subscribe(page)
    await subscribe(other)

    await publish("a")
    await page.until("a")
    await other.until("a")

    assert layer().added.count(group_name("s")) == 1
    assert get_hub().subscribers()["s"] == subscribers()["s"] == 2
    assert metrics.counters()["subscribers"] >= 2
    await get_hub().disconnect(other)


async def test_the_last_subscriber_leaves_the_group(page: Page) -> None:
    await subscribe(page)

    get_hub().unsubscribe(page, ["s", "unknown"])
    for _ in range(10):
        await asyncio.sleep(0)

    assert group_name("s") not in layer().groups
    assert "s" not in get_hub().subscribers()


async def test_who_comes_while_the_group_is_left_stays(page: Page) -> None:
    await subscribe(page)

    get_hub().unsubscribe(page, ["s"])
    await subscribe(page)
    await publish("a")

    await page.until("a")


async def test_who_comes_at_the_same_time_joins_once(page: Page) -> None:
    other = Page()
    get_hub().connect(other)

    await asyncio.gather(subscribe(page), subscribe(other))
    await publish("a")

    await page.until("a")
    await other.until("a")
    assert layer().added.count(group_name("s")) == 1
    await get_hub().disconnect(other)


async def test_who_left_before_the_arrival_is_settled_hears_nothing(page: Page) -> None:
    arrivals = await get_hub().subscribe(page, [("s", "")])
    get_hub().unsubscribe(page, ["s"])
    await until(lambda: "s" not in get_hub().subscribers())

    get_hub().settle(arrivals)
    await publish("a")

    assert page.heard == []


async def test_a_lost_message_is_read_from_the_log(page: Page) -> None:
    await subscribe(page)
    before = metrics.counters()["repaired"]

    await publish("a", lost=True)
    await publish("b")

    await page.until("a", "b")
    assert metrics.counters()["repaired"] == before + 2


async def test_a_repair_waits_for_the_log(page: Page) -> None:
    await subscribe(page)
    Log.down = 2

    await publish("a", lost=True)
    await publish("b")
    await publish("c")

    await page.until("a", "b", "c")


async def test_a_message_of_an_ended_epoch_is_looked_for_once(page: Page) -> None:
    """Regression: the log was read again and again, without a pause."""
    await subscribe(page)
    before = Log.reads
    old = Envelope("s", "ended", 1, ("a",))

    await get_layer().group_send(group_name("s"), pack([old]))
    await publish("b")

    await page.until("b")
    await asyncio.sleep(0)
    assert Log.reads - before == 1


async def test_a_lost_last_message_is_found(page: Page) -> None:
    await subscribe(page)
    await publish("a", lost=True)

    await get_hub()._compare_tips()

    await page.until("a")


async def test_where_nothing_was_lost_nothing_is_read(page: Page) -> None:
    await subscribe(page)
    await publish("a")
    await page.until("a")
    Log.down = 1

    await get_hub()._compare_tips()

    assert Log.down == 1


async def test_a_log_that_was_lost_is_a_gap(page: Page) -> None:
    await subscribe(page)
    await publish("a")
    await page.until("a")
    get_replay().__init__()  # type: ignore[misc]

    await get_hub()._compare_tips()

    await page.until("a", "gap")


async def test_an_arrival_of_a_new_epoch_repairs_the_others(page: Page) -> None:
    await subscribe(page)
    get_replay().__init__()  # type: ignore[misc]
    other = Page()
    get_hub().connect(other)

    (arrival,) = await subscribe(other)

    assert not arrival.recovered
    await page.until("gap")
    await get_hub().disconnect(other)


async def test_comparing_without_streams_asks_nobody() -> None:
    hub = Hub()

    await hub._compare_tips()


async def test_groups_are_joined_again(page: Page) -> None:
    await subscribe(page)
    layer().groups.clear()

    await get_hub()._join_again()
    await publish("a")

    await page.until("a")


async def test_a_group_that_the_layer_has_lost_is_joined_with_the_next_comparison(
    page: Page,
) -> None:
    """Regression: an old ZREM came late, and each message up to 15 s late."""
    await subscribe(page)
    layer().groups.clear()

    await get_hub()._check_groups()
    await publish("a")

    await page.until("a")


async def test_groups_take_turns_to_be_joined_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED", 2)
    await controlled()
    for sid in "abcd":
        await subscribe(page, sid)
    layer().added.clear()

    turns = []
    for _ in range(4):
        await get_hub()._check_groups()
        turns.append(len(layer().added))

    assert turns == [2, 4, 5, 7]
    assert set(layer().added[:5]) == set(layer().groups)


async def test_a_group_whose_message_did_not_arrive_is_left_and_joined_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer may believe to be subscribed, and do nothing when asked to subscribe."""
    monkeypatch.setattr(module, "RENEWED", 0)
    await subscribe(page)
    layer().groups.clear()
    await publish("a")

    await get_hub()._check_groups()
    await page.until("a")
    await publish("b")

    await page.until("a", "b")


async def test_a_group_that_could_only_be_left_is_joined_later(page: Page) -> None:
    await subscribe(page)
    await publish("a", lost=True)
    the_layer = layer()
    the_layer.down = True
    with pytest.raises(ConnectionError):
        await get_hub()._check_groups()
    await page.until("a")
    the_layer.groups.clear()
    the_layer.down = False

    await get_hub()._check_groups()
    await publish("b")

    await page.until("a", "b")


async def test_who_leaves_while_the_layer_is_away_leaves_nothing(page: Page) -> None:
    """Regression: the stream stayed, and kept everything that was sent to it."""
    await controlled()
    await subscribe(page)
    the_layer = layer()
    the_layer.down = True

    get_hub().unsubscribe(page, ["s"])
    assert list(get_hub().subscribers()) == [stream_id(CONTROL)]
    await until(lambda: the_layer.refused == 1)
    the_layer.down = False

    await publish("a")  # nobody wants it
    await until(lambda: group_name("s") not in the_layer.groups)
    await subscribe(page)
    await publish("b")
    await page.until("b")


async def test_a_group_that_cannot_be_left_is_given_up(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PATIENCE", 0.01)
    await subscribe(page)
    layer().stuck = asyncio.Event()

    get_hub().unsubscribe(page, ["s"])
    await subscribe(page)
    get_hub().unsubscribe(page, ["s"])

    await until(lambda: not get_hub()._leaving)


async def test_groups_that_were_not_joined_are_not_renewed() -> None:
    await Groups({}).join_again(["s"])

    assert layer().added == []


async def test_an_outage_is_logged_once_and_survived(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribe(page)
    the_layer = layer()
    the_layer.groups.clear()
    the_layer.down = True
    the_layer.errors = [ConnectionError("gone")]
    await publish("a", lost=True)
    await the_layer.send(page_channel(), {"type": "wake.up"})
    await until(lambda: the_layer.refused >= 2)
    the_layer.down = False

    await page.until("a")
    await publish("b")
    await page.until("a", "b")

    said = [r.getMessage() for r in caplog.records if r.name == "turbo.hub"]
    assert len([text for text in said if "be reached" in text]) == 1
    assert said[-1] == "The channel layer is back."


@pytest.mark.parametrize("error", [PermissionError("no"), ValueError("no address")])
async def test_a_layer_that_gives_nothing_is_asked_less_often_and_told_of(
    page: Page, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Regression: it was asked without a pause, so that nobody else had a turn."""
    await subscribe(page)
    layer().broken = error
    await publish("a")

    await until(lambda: "The channel layer cannot be read" in caplog.text)
    layer().broken = None
    await publish("b")

    await page.until("a", "b")


async def test_a_quiet_connection_that_timed_out_is_no_outage(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribe(page)
    the_layer = layer()
    added = len(the_layer.added)
    the_layer.errors = [TimeoutError("quiet")]
    await publish("a", lost=True)

    await the_layer.send(page_channel(), {"type": "wake.up"})

    await page.until("a")
    assert len(the_layer.added) == added
    assert caplog.text == ""


def page_channel() -> str:
    (channel,) = {name for names in layer().groups.values() for name in names} or {
        get_hub()._groups.channel
    }
    return str(channel)


async def test_a_subscription_that_cannot_be_made_leaves_nothing(page: Page) -> None:
    await controlled()
    Log.down = 1

    with pytest.raises(ConnectionError):
        await get_hub().subscribe(page, [("s", "")])
    for _ in range(10):
        await asyncio.sleep(0)

    assert "s" not in get_hub().subscribers()


async def test_a_group_that_cannot_be_joined_leaves_nothing(page: Page) -> None:
    await controlled()
    layer().down = True

    with pytest.raises(ConnectionError):
        await get_hub().subscribe(page, [("s", "")])

    await until(lambda: "s" not in get_hub().subscribers())


async def test_orders_reach_the_connections_and_a_gap_among_them_too(
    page: Page,
) -> None:
    await controlled()

    await publish('{"user":"1"}', None, sid=stream_id(CONTROL))

    await page.revoked('{"user":"1"}', None)


async def test_the_control_stream_is_joined_when_the_log_is_back() -> None:
    Log.down = 2
    page = Page()
    get_hub().connect(page)

    await controlled()

    await get_hub().disconnect(page)


async def test_connections_hear_signs_of_life_and_are_asked_again(page: Page) -> None:
    await get_hub()._beat()
    await get_hub()._recheck()

    assert page.heard == ["ping"]
    assert page.revocations == ["{}"]


async def test_foreign_messages_and_unknown_streams_are_passed_over(page: Page) -> None:
    await subscribe(page)
    channel = page_channel()

    await layer().send(channel, {"type": "chat.message"})
    await layer().send(channel, pack([Envelope("x", "e", 1, ("a",))]))
    await publish("b")

    await page.until("b")


async def test_the_last_connection_ends_the_hub() -> None:
    page = Page()
    first = get_hub()
    first.connect(page)
    await subscribe(page)

    await first.disconnect(page)

    assert get_hub() is not first
    assert layer().groups == {}
    assert module._hubs.values()


async def test_without_a_layer_the_error_names_the_setting() -> None:
    with override_settings(CHANNEL_LAYERS={}):
        with pytest.raises(ConfigurationError, match="no entry 'default'"):
            get_layer()
        with pytest.raises(ConfigurationError):
            await Groups({}).receive()


async def test_who_goes_costs_no_more_than_what_it_held(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many streams the other pages of this process show."""
    hub, other = get_hub(), Page()
    hub.connect(other)
    for number in range(20):
        await subscribe(other, f"s{number}")
    await subscribe(page, "s0")
    dropped: list[str] = []
    drop = Topic.drop

    def noted(topic: Topic, subscriber: Any) -> None:
        dropped.append(topic.sid)
        drop(topic, subscriber)

    monkeypatch.setattr(Topic, "drop", noted)
    await hub.disconnect(page)

    assert dropped == ["s0"]
    assert hub.subscribers()["s0"] == 1
    await hub.disconnect(other)
