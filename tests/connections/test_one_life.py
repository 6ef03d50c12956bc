"""What ends a socket ends it in one way, whoever is served over it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar
from unittest.mock import AsyncMock

import pytest
from django.contrib.auth.models import AnonymousUser

from tests.bindings.app.models import Product
from tests.connections.test_send_buffer import settle
from tests.support.servers import PATIENCE
from turbo.bindings import Binding, BindingConsumer
from turbo.connections import websocket
from turbo.connections.page import PageConnection
from turbo.connections.revocation import RevocationHandler
from turbo.connections.visitor import Visitor
from turbo.consumers import TurboStreamsConsumer
from turbo.observers import AsyncAPIConsumer, Multiplexer, action
from turbo.pubsub.consumers import PubSubConsumer
from turbo.typing import ASGIApplication

pytestmark = pytest.mark.django_db(transaction=True)


class Products(Binding):
    model = Product


class ProductConsumer(BindingConsumer):
    binding = Products


class Acting(AsyncAPIConsumer):
    @action()
    async def leave(self, **kwargs: Any) -> None:
        await self.close(4000)
        await self.send_json({"late": True})

    @action()
    async def show_out(self, **kwargs: Any) -> None:
        """As a revocation does: beside what is acted on."""
        await self.send_json({"before": "the end"})
        self.turns.put(partial(self.close, 4403))

    @action()
    async def count(self, **kwargs: Any) -> Any:
        return self.visitor.budget.frames > 0, 200


class Several(Multiplexer):
    consumers: ClassVar = {"acting": Acting}


APPLICATIONS: dict[str, tuple[ASGIApplication, int]] = {
    "pages": (TurboStreamsConsumer.as_asgi(), 4013),
    "observers": (Acting.as_asgi(), 1011),
    "multiplexer": (Several.as_asgi(), 1011),
    "bindings": (ProductConsumer.as_asgi(), 4013),
    "pubsub": (PubSubConsumer.as_asgi(), 4013),
}


class Server:
    """A server with one client, which reads while ``reads`` is set."""

    def __init__(self, kind: str) -> None:
        self.told: list[str] = []
        self.codes: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.writes = asyncio.Event()
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self.is_broken = False
        scope: dict[str, Any] = {"type": "websocket", "path": "/ws/", "headers": []}
        scope |= {"session": None, "user": AnonymousUser()}
        application, self.failed = APPLICATIONS[kind]
        serving: Any = application(scope, self._receive, self._send)
        self.task = asyncio.ensure_future(serving)
        self.frames.put_nowait({"type": "websocket.connect"})

    def say(self, text: str) -> None:
        self.frames.put_nowait({"type": "websocket.receive", "text": text})

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(self.task, return_exceptions=True)

    async def _receive(self) -> Any:
        message = await self.frames.get()
        if message is None:
            raise OSError("the server is broken")
        return message

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.codes.append(message["code"])
            self.frames.put_nowait({"type": "websocket.disconnect"})
        elif message["type"] == "websocket.send":
            self.writes.set()
            await self.reads.wait()
            self.told.append(message["text"])


@pytest.mark.parametrize("kind", APPLICATIONS)
async def test_a_failure_is_logged_and_told_with_a_code(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(kind)
    server.frames.put_nowait(None)

    await server.ended()

    assert server.codes == [server.failed]
    assert [r.name for r in caplog.records if r.exc_info] == ["turbo.failures"]


@pytest.mark.parametrize("kind", APPLICATIONS)
async def test_a_server_that_ends_says_so_once(kind: str) -> None:
    server = Server(kind)
    for _ in range(3):
        await settle()
    server.task.cancel()

    await server.ended()

    assert (server.codes, server.task.cancelled()) == ([1012], True)


async def test_nothing_follows_the_close_frame_of_an_action() -> None:
    server = Server("observers")
    server.say('{"action": "leave", "request_id": 1}')

    await server.ended()

    assert (server.told, server.codes) == ([], [4000])


async def test_who_is_shown_out_reads_what_goes_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: what waited for the client was dropped, perhaps with the code."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", PATIENCE)
    server = Server("observers")
    server.reads.clear()
    server.say('{"action": "show_out", "request_id": 1}')
    await asyncio.wait_for(server.writes.wait(), PATIENCE)
    for _ in range(10):
        await settle()
    server.reads.set()

    await server.ended()

    assert (server.told, server.codes) == (['{"before":"the end"}'], [4403])


async def test_frames_of_an_observer_count_once() -> None:
    """Regression: pages of a list counted on a budget of their own."""
    server = Server("observers")
    server.say('{"action": "count", "request_id": 1}')
    server.frames.put_nowait({"type": "websocket.disconnect"})

    await server.ended()

    assert '"data":true' in server.told[0]


class Holder:
    """The owner of a handler that wants to know whether it was asked."""

    def __init__(self) -> None:
        self.was_asked = False

    def held(self) -> Sequence[str]:
        self.was_asked = True
        return []

    async def ended_with(self, stream: str, held: Sequence[str]) -> Sequence[str]:
        return []

    async def refused(self, held: Sequence[str]) -> Sequence[str]:
        return []

    async def end(self, ended: Sequence[str]) -> None: ...


async def cancelled_half_way(revocations: Any, end: Callable[[], Any]) -> None:
    """End what applies a revocation that takes its time, and cancel that."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    revocations._tasks.run(stubborn())
    await started.wait()
    ending = asyncio.ensure_future(end())
    await settle()
    ending.cancel()
    await settle()
    may_end.set()
    await asyncio.gather(ending, return_exceptions=True)


@pytest.mark.parametrize(
    "make", [partial(PageConnection, room=lambda: 0), PubSubConsumer]
)
async def test_one_whose_end_is_cancelled_leaves_the_hub(make: Any) -> None:
    """Regression: the hub kept it for ever."""
    connection = make({"user": AnonymousUser()}, list[Any]().append)
    hub = connection.hub

    await cancelled_half_way(connection.revocations, connection.stop)

    assert hub._connections == {}


async def test_one_whose_end_is_cancelled_cancels_its_tasks() -> None:
    """Regression: they went on when the connection was gone."""
    connection: Any = PubSubConsumer({"user": AnonymousUser()}, AsyncMock())
    waiting = asyncio.Event().wait()
    connection.tasks.run(waiting)

    await cancelled_half_way(connection.revocations, connection.stop)

    assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED


async def test_an_observer_whose_end_is_cancelled_ends_all_else() -> None:
    """Regression: its channel was read for ever, and its tasks went on."""
    left: list[int] = []

    class Consumer(AsyncAPIConsumer):
        groups = ("everybody",)

        async def disconnect(self, code: int) -> None:
            left.append(code)

    consumer = Consumer()
    consumer.attach({"type": "websocket", "user": AnonymousUser()}, AsyncMock())
    await consumer.websocket_connect({"type": "websocket.connect"})
    waiting: Any = asyncio.Event().wait()
    consumer.run_detached(waiting)
    reading: Any = consumer._layer_groups._task
    end = {"type": "websocket.disconnect", "code": 1001}

    await cancelled_half_way(
        consumer.revocations, partial(consumer.websocket_disconnect, end)
    )

    assert left == [1001]
    assert reading.done()
    assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED


async def test_a_connection_that_is_ending_applies_no_revocation() -> None:
    """Regression: only observers did so; the others asked for the user once more."""
    holder = Holder()
    handler = RevocationHandler[str](holder, Visitor({"user": AnonymousUser()}))

    await handler.stop()
    handler.take(None)
    await settle()

    assert not holder.was_asked
