"""
What the work costs, counted: a guard against getting slower that needs no clock.

Queries, layer sends, commands of Redis, tasks and encodings per message or connection.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.db import DatabaseSyncToAsync
from channels.layers import InMemoryChannelLayer
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

import turbo
from tests.support.clients import Socket, cookies_of
from tests.support.servers import PATIENCE, ROOT, channel_layer
from tests.testapp.models import Room
from tests.testapp.streams import Announcements
from turbo.connections import permission_questions, permissions
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.audiences import pack_forms
from turbo.delivery.broadcast import shut_down
from turbo.delivery.envelope import Envelope
from turbo.delivery.frame import Frame
from turbo.delivery.topic import Topic
from turbo.replay import get_replay
from turbo.replay.base import History

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_visit_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a loaded machine ask no test apart because the others took too long."""
    monkeypatch.setattr(permissions, "TESTING", PATIENCE)
    monkeypatch.setattr(permission_questions, "QUICK", PATIENCE)


class Counting(InMemoryChannelLayer):
    """A layer that counts what is sent to a group."""

    sends = 0

    async def group_send(self, group: str, message: Any) -> None:
        type(self).sends += 1
        await super().group_send(group, message)


@pytest.fixture
def layer() -> Iterator[type[Counting]]:
    Counting.sends = 0
    config = {"default": {"BACKEND": f"{__name__}.Counting"}}
    with override_settings(CHANNEL_LAYERS=config):
        yield Counting
        shut_down()


@pytest.mark.parametrize("subscribers", [1, 20])
async def test_a_message_crosses_the_layer_once_however_many_subscribe(
    layer: type[Counting], subscribers: int
) -> None:
    sockets = [Socket() for _ in range(subscribers)]
    for socket in sockets:
        await socket.__aenter__()
        await socket.subscribe(Announcements().signed_stream_name)

    Announcements().append(text="once", id="list")
    for socket in sockets:
        await socket.messages(1)

    assert layer.sends == 1
    for socket in sockets:
        await socket.__aexit__()


def test_all_streams_of_a_page_are_read_with_one_query(layer: type[Counting]) -> None:
    rooms = [Room.objects.create(name=str(number)) for number in range(20)]
    names = [room.stream.signed_stream_name for room in rooms]

    async def subscribe() -> None:
        async with Socket() as socket:
            answers = await socket.subscribe(*names)
            assert {answer["type"] for answer in answers} == {"subscribed"}

    # Called from here, what wants the database runs in this thread and is counted.
    with CaptureQueriesContext(connection) as queries:
        async_to_sync(subscribe)()

    assert len(queries) == 1


def test_a_page_of_a_logged_in_user_takes_one_visit_to_the_database(
    layer: type[Counting], client: Client
) -> None:
    """Session, user and rooms are asked for together: a query each, one connection."""
    ann = User.objects.create(username="ann")
    rooms = [Room.objects.create(name=str(number)) for number in range(20)]
    names = [room.stream.sign(ann) for room in rooms]
    client.force_login(ann)
    visit = DatabaseSyncToAsync.thread_handler

    async def subscribe() -> None:
        async with Socket(headers=[cookies_of(client)]) as socket:
            answers = await socket.subscribe(*names)
            assert {answer["type"] for answer in answers} == {"subscribed"}

    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(DatabaseSyncToAsync, "thread_handler", autospec=True) as visits,
    ):
        visits.side_effect = visit
        async_to_sync(subscribe)()

    assert len(queries) == 3
    assert visits.call_count == 1


def test_pages_that_connect_together_share_their_queries(
    layer: type[Counting],
) -> None:
    """One for all sessions, one for all users, and one for all rooms."""
    pages = []
    for number in range(20):
        user = User.objects.create(username=str(number))
        client = Client()
        client.force_login(user)
        room = Room.objects.create(name=str(number))
        pages.append((cookies_of(client), room.stream.sign(user)))

    loops: list[asyncio.AbstractEventLoop] = []

    async def turns() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    def after_all_have_asked(execute: Any, *query: Any) -> Any:
        asyncio.run_coroutine_threadsafe(turns(), loops[0]).result(PATIENCE)
        return execute(*query)

    async def subscribe() -> None:
        loops.append(asyncio.get_running_loop())
        sockets = [Socket(headers=[cookies]) for cookies, _ in pages]
        async with AsyncExitStack() as stack:
            for socket in sockets:
                await stack.enter_async_context(socket)
            answers = await asyncio.gather(
                *(
                    socket.subscribe(name)
                    for socket, (_, name) in zip(sockets, pages, strict=True)
                )
            )
        assert {answer["type"] for (answer,) in answers} == {"subscribed"}

    with (
        CaptureQueriesContext(connection) as queries,
        connection.execute_wrapper(after_all_have_asked),
    ):
        async_to_sync(subscribe)()

    tables = Counter(re.findall(r'FROM "(\w+)"', " ".join(q["sql"] for q in queries)))
    # The first is answered alone, the others while that one is.
    assert tables["django_session"] <= 2
    assert tables["testapp_room"] <= 2
    assert tables["auth_user"] <= 2


class Heard:
    """A subscriber that keeps the frames it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def deliver(self, frame: Frame) -> None:
        self.frames.append(frame)


async def test_a_message_is_encoded_once_for_all_subscribers() -> None:
    """All are handed the very same object, and so the very same bytes."""
    topic = Topic("z7r3")
    subscribers = [Heard() for _ in range(50)]
    for subscriber in subscribers:
        topic.admit(subscriber, History("k3", 7, (), complete=True))
    topic.resume()

    topic.take(Envelope("z7r3", "k3", 8, ("<b>",)))

    frames = {id(frame) for s in subscribers for frame in s.frames}
    assert (len(frames), [len(s.frames) for s in subscribers]) == (1, [1] * 50)


async def test_a_message_for_audiences_is_encoded_once_for_each() -> None:
    topic = Topic("z7r3")
    subscribers = [Heard() for _ in range(50)]
    for number, subscriber in enumerate(subscribers):
        audience = ("member", "moderator")[number % 2]
        topic.admit(subscriber, History("k3", 7), audience=audience)
    topic.resume()

    topic.take(
        Envelope("z7r3", "k3", 8, (pack_forms({"member": "a", "moderator": "b"}),))
    )

    frames = {id(frame) for s in subscribers for frame in s.frames}
    assert (len(frames), [len(s.frames) for s in subscribers]) == (2, [1] * 50)


def test_streams_without_audiences_do_nothing_for_them() -> None:
    """Neither their verbs nor their messages call a function of them."""
    topic = Topic("z7r3")
    topic.admit(Heard(), History("k3", 7))
    topic.resume()

    with counted_calls() as calls:
        Announcements().append("testapp/hello.html", {"name": "Ann"}, id="list")
        topic.take(Envelope("z7r3", "k3", 8, ("<b>",)))

    ours = {"AudienceFrames.of", "_forms", "by_audience", "mark", "plain", "unmark"}
    assert ours.isdisjoint(calls)
    assert (calls["render"], calls["frames_of"]) == (1, 1)


async def test_a_delivery_makes_no_task() -> None:
    """Neither with the extension nor with a ``send`` that does not wait."""
    written: list[bytes] = []

    async def send(message: Any) -> None:
        written.append(json.dumps(message).encode())

    class Direct:
        def __init__(self) -> None:
            self.send = send

        def write(self, frame: Frame) -> bool:
            written.append(frame.websocket)
            return True

        def on_room(self, callback: Any) -> None: ...

        def on_lost(self, callback: Any) -> None: ...

        def abort(self) -> None: ...

    boxes = [
        SendBuffer({"extensions": extensions}, send, on_slow=lambda: None)
        for extensions in ({"turbo.transport": Direct()}, {})
    ]
    tasks = asyncio.all_tasks()

    for _ in range(100):
        for box in boxes:
            box.put(Frame("a"))

    assert (len(written), asyncio.all_tasks()) == (200, tasks)


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count what this thread calls: functions of Python, and of C."""
    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, function: Any) -> None:
        if event == "call":
            calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            calls[function.__qualname__] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        del calls["setprofile"]


class Pipe:
    """The transport of a connection, and the socket behind it."""

    def __init__(self, descriptor: int, send: Any) -> None:
        self.pipe, self.descriptor, self.below, self.send = self, descriptor, 500, send

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, frame: Frame) -> bool:
        raise AssertionError("not into the socket")

    def on_room(self, callback: Any) -> None: ...

    def on_lost(self, callback: Any) -> None: ...


def test_a_delivery_is_one_system_call_and_hardly_anything_else() -> None:
    """What is asked before each is answered by the server's loop, in C under uvloop."""

    async def send(message: Any) -> None: ...

    topic = Topic("z7r3")
    with open(os.devnull, "wb") as nowhere:
        for _ in range(100):
            subscriber = Heard()
            scope = {"extensions": {"turbo.transport": Pipe(nowhere.fileno(), send)}}
            box = SendBuffer(scope, send, on_slow=lambda: None)
            subscriber.deliver = box.put  # type: ignore[method-assign]
            topic.admit(subscriber, History("k3", 7, (), complete=True))
        topic.resume()

        with counted_calls() as calls:
            topic.take(Envelope("z7r3", "k3", 8, ("<b>",)))

    for_each = {name: n // 100 for name, n in calls.items() if n >= 100}
    assert for_each == {
        "SendBuffer.put": 1,
        "Pipe.get_write_buffer_size": 1,
        "Pipe.is_closing": 1,
        "write": 1,
        "len": 1,
    }
    assert sum(n % 100 for n in calls.values()) < 60


def test_a_verb_calls_little_before_its_caller_goes_on(layer: type[Counting]) -> None:
    """Until the message is in the queue: about a microsecond for five of them."""
    stream = Announcements()
    for _ in range(3):
        stream.append(html="<p>warm</p>", id="list")

    with counted_calls() as calls:
        stream.append(html="<p>counted</p>", id="list")

    print(calls.most_common())
    assert calls.total() < 90


async def test_a_connection_has_one_task(layer: type[Counting]) -> None:
    """Its server's; reading, writing and slowness need none of their own."""
    async with Socket() as first:
        await first.subscribe(Announcements().signed_stream_name)
        before = len(asyncio.all_tasks())
        async with Socket() as second:
            await second.subscribe(Announcements().signed_stream_name)

            assert len(asyncio.all_tasks()) == before + 1


@contextmanager
def untraced() -> Iterator[None]:
    """Without the measuring of coverage, which makes each waiting call larger."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


async def test_what_a_page_that_stays_keeps_in_memory(
    layer: type[Counting],
) -> None:
    """Of what this library allocates itself; the server's own is several times that."""
    signed = Announcements().signed_stream_name
    async with AsyncExitStack() as stack:

        async def connect(count: int) -> None:
            for _ in range(count):
                socket = await stack.enter_async_context(Socket())
                assert (await socket.subscribe(signed))[0]["type"] == "subscribed"

        await connect(5)  # what is loaded once
        with untraced():
            tracemalloc.start()
            try:
                await connect(100)
                gc.collect()
                ours = tracemalloc.Filter(True, str(ROOT / "turbo" / "*"))
                kept = tracemalloc.take_snapshot().filter_traces([ours])
            finally:
                tracemalloc.stop()

    size = sum(trace.size for trace in kept.traces) / 100
    print(f"{size:.0f} bytes for each page")
    assert size < 3_500


def test_a_batch_of_broadcasts_is_a_handful_of_commands(valkey: Any) -> None:
    """One script appends the batch and one sends each stream's run."""
    config = {"default": channel_layer("pubsub", valkey.url)}
    with override_settings(CHANNEL_LAYERS=config), valkey.client() as client:
        Announcements().append(text="warm", id="list")
        assert turbo.flush(PATIENCE)
        before = calls(client)
        for number in range(20):
            Announcements().append(text=str(number), id="list")
            assert turbo.flush(PATIENCE)
        counted = calls(client)
        shut_down(5)

    made = {name: counted[name] - before.get(name, 0) for name in counted}
    made = {name: n for name, n in made.items() if n and name not in IGNORED}
    assert made.pop("evalsha") == 20
    assert made.pop("publish") == 20
    assert made == {}


#: What the script itself calls is counted too, and what this test asks.
IGNORED = {"expire", "hget", "hincrby", "hmget", "hset", "info", "pexpire", "time"}
IGNORED |= {"xadd", "xlen", "xtrim"}


def calls(client: Any) -> dict[str, int]:
    """Return how often each command has been called."""
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): s["calls"] for name, s in stats.items()}


async def test_a_broadcast_opens_no_connection_and_waits_for_none() -> None:
    """A layer that nobody can reach: the caller does not notice."""
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer("redis", "redis://127.0.0.1:1/0")}
    ):
        await sync_to_async(Announcements().append)(text="x", id="list")

        await sync_to_async(shut_down)(0)


def test_a_whisper_writes_nothing_and_asks_no_database(
    layer: type[Counting], declaring: None
) -> None:
    """It crosses the layer once, however many hear it, and the log stays as it is."""

    class Quiet(turbo.Stream):
        class Meta:
            app_label = "tests"
            whispers = ("typing",)

    ann, place = User.objects.create(username="ann"), (Quiet().stream_id, "")
    name = Quiet().sign(ann)

    async def whisper() -> None:
        async with Socket(ann) as one, Socket(ann) as two, Socket(ann) as three:
            for socket in (one, two, three):
                await socket.subscribe(name)
            before = await get_replay().read([place]), layer.sends
            visits.reset_mock()

            await one.send(type="whisper", name=name, whisper="typing", data={})
            assert await two.messages() == await three.messages()

            after = await get_replay().read([place]), layer.sends
            assert after == (before[0], before[1] + 1)
            assert visits.call_count == 0

    visit = DatabaseSyncToAsync.thread_handler
    with patch.object(DatabaseSyncToAsync, "thread_handler", autospec=True) as visits:
        visits.side_effect = visit
        async_to_sync(whisper)()
