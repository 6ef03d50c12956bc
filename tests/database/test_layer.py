"""What every channel layer does for this library: in databases as in Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import connections
from django.test.utils import CaptureQueriesContext

from tests.support.servers import DATABASES, PATIENCE
from turbo.database.layer import DatabaseLayer
from turbo.database.models import LayerMessage

LAYERS = [
    "memory",
    "redis",
    "pubsub",
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.processes),
]
BETWEEN_PROCESSES = LAYERS[1:]

MakeLayer = Callable[[], Any]


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """The server of the layer, which is empty."""
    if kind in DATABASES:
        request.getfixturevalue(f"{kind}_tables")
    elif kind != "memory":
        return str(request.getfixturevalue("valkey").url)
    return ""


@pytest_asyncio.fixture
async def make_layer(kind: str, url: str) -> AsyncIterator[MakeLayer]:
    """Make a layer of one process: two of them are like two processes."""
    made: list[Any] = []

    def make() -> Any:
        if kind == "memory":
            layer = InMemoryChannelLayer()
        elif kind == "redis":
            layer = RedisChannelLayer(hosts=[{"address": url, "socket_timeout": None}])
        elif kind == "pubsub":
            layer = RedisPubSubChannelLayer(hosts=[url])
        else:
            layer = DatabaseLayer(alias=kind)
        made.append(layer)
        return layer

    yield make
    for layer in made:
        if hasattr(layer, "flush"):
            await layer.flush()
        if hasattr(layer, "close_pools"):
            await layer.close_pools()


@pytest.fixture
def layer(make_layer: MakeLayer) -> Any:
    return make_layer()


async def test_a_message_arrives_as_it_was_sent(layer: Any) -> None:
    channel = await layer.new_channel()
    message = {"type": "a.b", "text": "ä\x00😀", "n": [1, None, 2.5], "bytes": b"\xff"}

    await layer.send(channel, message)

    assert await layer.receive(channel) == message


async def test_messages_arrive_in_order(layer: Any) -> None:
    channel = await layer.new_channel()
    for n in range(50):
        await layer.send(channel, {"n": n})

    received = [(await layer.receive(channel))["n"] for _ in range(50)]

    assert received == list(range(50))


async def test_each_channel_gets_its_own_messages(layer: Any) -> None:
    one, two = await layer.new_channel(), await layer.new_channel()
    await layer.send(two, {"to": "two"})
    await layer.send(one, {"to": "one"})

    assert await layer.receive(one) == {"to": "one"}
    assert await layer.receive(two) == {"to": "two"}


async def test_a_group_reaches_its_members(layer: Any) -> None:
    members = [await layer.new_channel() for _ in range(3)]
    for channel in members:
        await layer.group_add("room", channel)
    await layer.group_discard("room", members[1])

    await layer.group_send("room", {"n": 1})
    await layer.send(members[1], {"n": 2})

    assert [(await layer.receive(c))["n"] for c in members] == [1, 2, 1]


# --- Between processes

between_processes = pytest.mark.parametrize("kind", BETWEEN_PROCESSES, indirect=True)


@between_processes
async def test_another_process_is_reached(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    await there.group_add("room", channel)

    await here.send(channel, {"n": 1})
    await here.group_send("room", {"n": 2})

    assert [(await there.receive(channel))["n"] for _ in range(2)] == [1, 2]


@between_processes
async def test_a_thread_without_a_loop_may_send(make_layer: MakeLayer) -> None:
    """As a view, a command or a task does."""
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    await there.group_add("room", channel)

    def send() -> None:
        async_to_sync(here.group_send)("room", {"n": 1})

    await asyncio.to_thread(send)

    assert await there.receive(channel) == {"n": 1}


@between_processes
async def test_what_many_send_at_once_arrives_once(make_layer: MakeLayer) -> None:
    there = make_layer()
    channel = await there.new_channel()
    await there.group_add("room", channel)

    async def write(writer: int) -> None:
        layer = make_layer()
        for n in range(10):
            await layer.group_send("room", {"n": (writer, n)})

    await asyncio.gather(*map(write, range(4)))

    received = [tuple((await there.receive(channel))["n"]) for _ in range(40)]
    assert sorted(received) == [(writer, n) for writer in range(4) for n in range(10)]
    assert all(
        [n for own, n in received if own == writer] == list(range(10))
        for writer in range(4)
    )


# --- In the database

in_database = pytest.mark.parametrize(
    "kind",
    ["sqlite", pytest.param("postgres", marks=pytest.mark.processes)],
    indirect=True,
)


@in_database
async def test_members_get_copies(layer: Any) -> None:
    """What one consumer does with its message must not change that of another."""
    one, two = await layer.new_channel(), await layer.new_channel()
    for channel in (one, two):
        await layer.group_add("room", channel)

    await layer.group_send("room", {"list": []})
    (await layer.receive(one))["list"].append("mine")

    assert await layer.receive(two) == {"list": []}


@in_database
async def test_a_cancelled_receiver_takes_nothing_away(layer: Any) -> None:
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    await layer.send(channel, {"n": 1})

    assert await layer.receive(channel) == {"n": 1}


@in_database
async def test_a_name_that_is_not_valid_is_refused(layer: Any) -> None:
    with pytest.raises(TypeError):
        await layer.group_send("no spaces", {"n": 1})
    with pytest.raises(TypeError):
        await layer.send("nor ä", {"n": 1})


@in_database
async def test_a_worker_channel_has_one_receiver(make_layer: MakeLayer) -> None:
    """A name without "!" belongs to no process: whoever is first takes the message."""
    sender, *workers = make_layer(), make_layer(), make_layer()
    await sender.send("thumbnails", {"n": 0})
    first = await workers[0].receive("thumbnails")
    taken = [asyncio.ensure_future(w.receive("thumbnails")) for w in workers]

    await sender.send("thumbnails", {"n": 1})
    await sender.send("thumbnails", {"n": 2})

    assert first == {"n": 0}
    assert sorted(m["n"] for m in await asyncio.gather(*taken)) == [1, 2]


@in_database
async def test_a_channel_of_another_process_joins(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()

    await here.group_add("room", channel)
    await here.group_send("room", {"n": 1})
    assert await there.receive(channel) == {"n": 1}

    await here.group_discard("room", channel)
    await here.group_send("room", {"n": 2})
    await here.send(channel, {"n": 3})
    assert await there.receive(channel) == {"n": 3}


@in_database
async def test_a_worker_channel_may_be_in_a_group(layer: Any) -> None:
    await layer.group_add("room", "thumbnails")

    await layer.group_send("room", {"n": 1})

    assert await layer.receive("thumbnails") == {"n": 1}


@in_database
async def test_each_loop_of_a_process_receives(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    received: list[Any] = []
    joined = threading.Event()

    async def receive() -> None:
        own = await layer.new_channel()
        await layer.group_add("room", own)
        joined.set()
        received.append(await layer.receive(own))

    thread = threading.Thread(target=lambda: asyncio.run(receive()))
    thread.start()
    await asyncio.to_thread(joined.wait)
    await layer.group_send("room", {"n": 1})

    received.append(await layer.receive(channel))
    await asyncio.to_thread(thread.join)
    assert received == [{"n": 1}, {"n": 1}]


@in_database
async def test_prefixes_are_apart(kind: str, make_layer: MakeLayer) -> None:
    make_layer()
    here = DatabaseLayer(alias=kind, prefix="one")
    other = DatabaseLayer(alias=kind, prefix="two")
    channel = await here.new_channel()
    await here.group_add("room", channel)

    await other.group_send("room", {"n": 1})
    await here.group_send("room", {"n": 2})

    assert await here.receive(channel) == {"n": 2}
    await here.close_pools()
    await other.close_pools()


@in_database
async def test_a_prefix_may_have_a_colon(kind: str, make_layer: MakeLayer) -> None:
    make_layer()
    layer = DatabaseLayer(alias=kind, prefix="asgi:one")
    channel = await layer.new_channel()

    await layer.send(channel, {"n": 1})

    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"n": 1}
    await layer.close_pools()


@in_database
@pytest.mark.parametrize("prefix", ["two", "One", "one:two", "_ne"])
async def test_flush_leaves_the_messages_of_other_sites(
    kind: str, make_layer: MakeLayer, prefix: str
) -> None:
    make_layer()
    here = DatabaseLayer(alias=kind, prefix="one")
    other = DatabaseLayer(alias=kind, prefix=prefix)
    await here.send("work", {"n": 1})
    await other.send("work", {"n": 2})

    await here.flush()
    await here.send("work", {"n": 3})

    assert await other.receive("work") == {"n": 2}
    assert await here.receive("work") == {"n": 3}
    await here.close_pools()
    await other.close_pools()


@in_database
async def test_who_is_too_slow_is_told_that_messages_are_lost(
    kind: str, make_layer: MakeLayer
) -> None:
    make_layer()
    layer = DatabaseLayer(alias=kind, capacity=3)
    channel = await layer.new_channel()
    for n in range(5):
        await layer.send(channel, {"n": n})
    marker = await layer.new_channel()
    await layer.send(marker, {})
    await layer.receive(marker)

    with pytest.raises(ConnectionError, match="lost"):
        await layer.receive(channel)

    assert [(await layer.receive(channel))["n"] for _ in range(2)] == [3, 4]
    await layer.close_pools()


@in_database
async def test_messages_that_are_gone_are_told(kind: str, layer: Any) -> None:
    """A process that slept for a minute finds the numbers after a hole."""
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    other = DatabaseLayer(alias=kind)

    def skip() -> None:
        other._messages._advance(3)

    await other._thread.arun(skip)

    with pytest.raises(ConnectionError, match="gone"):
        await waiting
    await other.close_pools()


@in_database
async def test_old_messages_are_deleted(kind: str, make_layer: MakeLayer) -> None:
    make_layer()
    layer = DatabaseLayer(alias=kind, expiry=-1)
    await layer.send(await layer.new_channel(), {"n": 1})
    layer._messages._swept -= 60

    await layer.send(await layer.new_channel(), {"n": 2})

    assert await LayerMessage.objects.using(kind).acount() == 0
    await layer.close_pools()


@in_database
async def test_a_flush_reads_each_address_once(kind: str, layer: Any) -> None:
    """A channel may have any number of messages."""
    channel = await layer.new_channel()
    for number in range(3):
        await layer.send(channel, {"n": number})

    def clear() -> list[str]:
        with CaptureQueriesContext(connections[kind]) as queries:
            layer._messages.clear([""])
        return [query["sql"] for query in queries if "SELECT" in query["sql"]]

    [select] = await sync_to_async(clear)()

    assert select.startswith("SELECT DISTINCT")
