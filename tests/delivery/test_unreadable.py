"""
A message that nobody understands is dropped and counted, and the next one arrives.

Messages reach the hub through the channel layer, the control stream and the replay log;
each is fed with what another project, a newer version or an accident could put there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
import redis
from channels.layers import get_channel_layer
from django import conf
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.servers import Valkey, channel_layer
from tests.testapp.streams import Announcements
from turbo import metrics
from turbo.connections.page import PageConnection
from turbo.connections.revocation import Revocation
from turbo.delivery.envelope import MESSAGES, Envelope, pack
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.names import CONTROL, stream_id
from turbo.delivery.protocol import Wanted
from turbo.delivery.unreadable import Unreadable, drop, is_about_content, json_object
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.selection import forget_replay

SID = Announcements().stream_id
ORDERS = stream_id(CONTROL)


@pytest.fixture(params=["redis", "pubsub"])
def layer(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[str]:
    """A layer in Redis; what it loses is not looked for, so that nothing heals."""
    layers = {"default": channel_layer(request.param, valkey.url)}
    quiet = {"TIP_INTERVAL": 3_600, "HEARTBEAT": 3_600, "RECHECK_INTERVAL": 3_600}
    with override_settings(CHANNEL_LAYERS=layers, TURBO=quiet):
        yield request.param


class Page:
    """A subscriber of the announcements, and what it was told."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self._told = asyncio.Event()
        self.subscriber = PageConnection({}, self._emit, lambda: 1_000_000)

    def _emit(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.text))
        self._told.set()

    async def until(self, text: str) -> None:
        """Return when a message with exactly this text has arrived."""
        async with asyncio.timeout(20):
            while text not in [frame.get("data") for frame in self.frames]:
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def subscribed() -> AsyncIterator[Page]:
    page = Page()
    try:
        await page.subscriber.subscribe(
            [Wanted(Announcements().signed_stream_name, "")]
        )
        assert page.frames[0]["type"] == "subscribed"
        yield page
    finally:
        await page.subscriber.stop()


async def publish(data: str | None, sid: str = SID) -> None:
    [place] = await get_replay().append([Append(sid, data)])
    envelope = Envelope(sid, place.epoch, place.number, (data,))
    await send(pack([envelope]))


async def send(message: dict[str, Any]) -> None:
    await get_channel_layer().send(get_hub()._groups.channel, message)


async def send_bytes(url: str, body: bytes) -> None:
    """Put ``body`` where the layer puts messages for this process."""
    layer = get_channel_layer()
    channel = get_hub()._groups.channel
    with redis.Redis.from_url(url) as client:
        if type(layer).__module__.endswith("pubsub"):
            client.publish(channel, body)
        else:
            client.zadd(layer.prefix + channel.partition("!")[0] + "!", {body: 1})


def dropped() -> int:
    return metrics.counters()["unreadable"]


async def counted(number: int) -> None:
    async with asyncio.timeout(20):
        while dropped() < number:  # noqa: ASYNC110 - the counter tells nobody
            await asyncio.sleep(0.01)


FOREIGN: list[Any] = [
    {"type": MESSAGES},
    {"type": MESSAGES, "m": SID},
    {"type": MESSAGES, "m": [SID]},
    {"type": MESSAGES, "m": [[SID, "x", 1]]},
    {"type": MESSAGES, "m": [[SID, "x", "1", ["a"]]]},
    {"type": MESSAGES, "m": [[SID, "x", True, ["a"]]]},
    {"type": MESSAGES, "m": [[SID, "x", -1, ["a"]]]},
    {"type": MESSAGES, "m": [[SID, "x", 1, "a"]]},
    {"type": MESSAGES, "m": [[SID, "x", 1, [["a"]]]]},
    {"type": MESSAGES, "m": [[[SID], "x", 1, ["a"]]]},
    {"type": MESSAGES, "m": [[SID, None, 1, ["a"]]]},
    {"type": MESSAGES, "s": SID, "e": "x", "n": 1, "d": ["a"]},
    {"type": "turbo.other", "m": []},
    {"type": ["turbo.messages"]},
    {"type": None},
    {},
]


@pytest.mark.parametrize("message", FOREIGN)
async def test_a_message_that_is_none_is_dropped(layer: str, message: Any) -> None:
    async with subscribed() as page:
        before = dropped()

        await send(message)
        await publish("good")

        await page.until("good")
        assert dropped() == before + 1
        assert [frame["type"] for frame in page.frames] == ["subscribed", "message"]


BYTES = [b"", b"\xc1", b"not msgpack", *map(msgpack.packb, (None, 5, "x", [1], {}))]


@pytest.mark.parametrize("body", BYTES, ids=[body.hex() or "none" for body in BYTES])
async def test_bytes_that_are_no_message_are_dropped(
    layer: str, valkey: Valkey, body: bytes
) -> None:
    async with subscribed() as page:
        before = dropped()

        await send_bytes(valkey.url, body)
        await counted(before + 1)
        await publish("good")

        await page.until("good")
        assert [frame["type"] for frame in page.frames] == ["subscribed", "message"]


NO_ORDERS = [
    "no json",
    "[1]",
    "5",
    '"x"',
    "null",
    '{"user":5}',
    '{"recheck":"yes"}',
    '{"stream":["a"]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NO_ORDERS, ids=[text[:20] for text in NO_ORDERS])
async def test_what_is_no_order_is_dropped(layer: str, text: str) -> None:
    async with subscribed() as page:
        before = dropped()

        await publish(text, ORDERS)
        await counted(before + 1)
        await publish("good")

        await page.until("good")
        assert [frame["type"] for frame in page.frames] == ["subscribed", "message"]


async def test_an_order_of_a_newer_version_is_carried_out_as_far_as_it_is_known(
    layer: str,
) -> None:
    revocation = {"stream": "testapp:Announcements", "since": 5, "tenant": ["x"]}
    async with subscribed() as page:
        await publish(json.dumps(revocation), ORDERS)

        async with asyncio.timeout(20):
            while page.frames[-1]["type"] != "denied":
                page._told.clear()
                await page._told.wait()


async def test_an_order_with_new_keys_alone_ends_nothing(layer: str) -> None:
    async with subscribed() as page:
        await publish('{"tenant":"x"}', ORDERS)
        await publish("good")

        await page.until("good")


async def test_a_connection_that_fails_keeps_nobody_from_hearing(layer: str) -> None:
    class Broken:
        def deliver(self, frame: Frame) -> None:
            raise RuntimeError("broken")

        def apply_revocation(self, revocation: str | None) -> None:
            raise RuntimeError("broken")

    broken = Broken()
    get_hub().connect(broken)
    try:
        async with subscribed() as page:
            arrivals = await get_hub().subscribe(broken, [(SID, "")])
            get_hub().settle(arrivals)

            await get_hub()._beat()
            await get_hub()._recheck()
            await publish('{"user":"1"}', ORDERS)
            await publish("good")
            await page.until("good")
            await publish("better")

            await page.until("better")
    finally:
        await get_hub().disconnect(broken)


async def test_entries_of_the_log_that_are_none_are_gaps(
    layer: str, valkey: Valkey
) -> None:
    """And bytes that are no text do not keep the others from being read."""
    async with subscribed() as page:
        await publish("good")
        await page.until("good")
        with valkey.client() as client:
            [key] = [key for key in client.keys("*:log") if SID in key]
            client.xadd(key, {"nonsense": b"\xff\xfe"})
            client.xadd(key, dict.fromkeys("abcd", b"<b>\xff"))
            client.hincrby(key.replace(":log", ":meta"), "n", 2)

        await get_hub()._compare_tips()
        await page.until("<b>\N{REPLACEMENT CHARACTER}")
        await publish("better")

        await page.until("better")
        types = [frame["type"] for frame in page.frames]
        assert types == ["subscribed", "message", "gap", "message", "message"]


# --- Whatever it is


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
values = st.recursive(
    scalars | st.binary() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
envelopes = st.tuples(
    st.sampled_from([SID, ORDERS, ""]) | values,
    st.just("epoch") | values,
    st.integers(0, 3) | values,
    st.lists(st.none() | st.text() | values, max_size=3) | values,
)
#: What looks like ours, with anything in the place of any of its values.
similar = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just(MESSAGES) | values,
        "m": st.lists(envelopes | values, max_size=3) | values,
        "a": values,
    },
)


@settings(max_examples=30, derandomize=True)
@given(st.lists(similar | st.dictionaries(st.text(), values), max_size=20))
def _feed(url: str, messages: list[dict[str, Any]]) -> None:
    async def run() -> None:
        async with subscribed() as page:
            for message in messages:
                await send_bytes(url, msgpack.packb(message))
                named = {**message, "__asgi_channel__": get_hub()._groups.channel}
                await send_bytes(url, msgpack.packb(named))
            await publish("good")
            await page.until("good")

    # A layer of its own: the locks of channels-redis belong to the loop that had them.
    with override_settings(CHANNEL_LAYERS=dict(conf.settings.CHANNEL_LAYERS)):
        asyncio.run(run())
    forget_replay()


@pytest.mark.slow
def test_whatever_arrives_the_next_message_is_heard(layer: str, valkey: Valkey) -> None:
    _feed(valkey.url)


# --- The pieces


def test_the_first_of_each_kind_in_a_minute_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = dropped()

    for _ in range(3):
        drop("test_unreadable", "x" * 1_000)

    [record] = [r for r in caplog.records if "test_unreadable" in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert len(record.getMessage()) < 300
    assert dropped() == before + 3


@pytest.mark.parametrize("text", ["", "[]", "5", None, b"\xff", "[" * 100_000])
def test_what_is_no_json_object_is_unreadable(text: Any) -> None:
    with pytest.raises(Unreadable):
        json_object(text)


def test_an_outage_is_not_about_content() -> None:
    class InvalidToken(Exception):
        """Named as the one of ``cryptography``."""

    assert is_about_content(InvalidToken())
    assert is_about_content(UnicodeDecodeError("utf-8", b"", 0, 1, ""))
    for error in (OSError(), TimeoutError(), redis.ConnectionError(), RuntimeError()):
        assert not is_about_content(error)


@pytest.mark.parametrize("text", [None, "", "{}", '{"new":1}', '{"recheck":false}'])
def test_an_order_that_names_nothing_known_asks_everybody_again(
    text: str | None,
) -> None:
    assert Revocation.parse(text) == Revocation(recheck=True)
