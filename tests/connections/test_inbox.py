"""A frame at a time, at the client's pace, and its leaving noticed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings
from django.urls import path

from tests.connections.test_send_buffer import Pipe, send_buffer
from tests.support.clients import Talk
from tests.support.servers import PATIENCE
from turbo.connections.inbox import Inbox
from turbo.consumers import TurboStreamsConsumer
from turbo.delivery.frame import Frame
from turbo.observers import AsyncAPIConsumer, Multiplexer
from turbo.pubsub.consumers import PubSubConsumer


async def no_hurry() -> None:
    await asyncio.sleep(0)


class Client:
    """What a server's ``receive`` returns, and whether the client has left."""

    def __init__(self, box: Any = None) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.taken = asyncio.Event()
        self.left = asyncio.Event()
        self.send_buffer = box or send_buffer(None)[0]

    def inbox(self) -> Inbox:
        return Inbox(
            self.receive, self.send_buffer, pace=no_hurry, on_lost=self.left.set
        )

    async def receive(self) -> Any:
        message = await self.messages.get()
        self.taken.set()
        return message

    def send(self, kind: str, **fields: Any) -> None:
        self.messages.put_nowait({"type": f"websocket.{kind}", **fields})


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def test_frames_come_in_order_and_the_end_after_them() -> None:
    client = Client()
    client.send("receive", text="a")
    client.send("receive", text="b")
    client.send("disconnect")

    with client.inbox() as inbox:
        heard = [await soon(inbox.next()) for _ in range(3)]

    assert [message.get("text") for message in heard] == ["a", "b", None]
    assert not client.left.is_set()


async def test_nothing_is_taken_while_something_waits_on_the_way_out() -> None:
    pipe = Pipe(room=1)
    client = Client(send_buffer(pipe.send, transport=pipe)[0])
    client.send("receive", text="a")
    client.send_buffer.put(Frame("full"))

    with client.inbox() as inbox:
        taking = asyncio.ensure_future(inbox.next())
        for _ in range(20):
            await asyncio.sleep(0)
        waiting = client.messages.qsize()
        pipe.resume()
        await soon(taking)

    assert waiting == 1


async def test_a_server_tells_of_who_has_left() -> None:
    pipe = Pipe(room=9)
    client = Client(send_buffer(pipe.send, transport=pipe)[0])

    with client.inbox():
        pipe.lose()

    assert client.left.is_set()


async def test_who_leaves_while_waited_for_is_heard_of_as_ever() -> None:
    pipe = Pipe(room=9)
    client = Client(send_buffer(pipe.send, transport=pipe)[0])

    with client.inbox() as inbox:
        taking = asyncio.ensure_future(inbox.next())
        for _ in range(20):
            await asyncio.sleep(0)
        pipe.lose()
        client.send("disconnect")
        await soon(taking)

    assert not client.left.is_set()


async def test_a_server_that_does_not_tell_is_asked() -> None:
    client = Client()
    client.send("disconnect", code=1001)

    with client.inbox() as inbox:
        await soon(client.left.wait())
        assert (await soon(inbox.next()))["code"] == 1001


async def test_what_it_says_instead_is_not_lost() -> None:
    client = Client()
    client.send("receive", text="a")

    with client.inbox() as inbox:
        await soon(client.taken.wait())
        message = await soon(inbox.next())

    assert (message["text"], client.left.is_set()) == ("a", False)


async def test_a_server_that_fails_when_it_is_asked() -> None:
    async def receive() -> Any:
        raise OSError("no more")

    box = send_buffer(None)[0]
    with Inbox(receive, box, pace=no_hurry, on_lost=lambda: None) as inbox:
        inbox._look_ahead()
        inbox._look_ahead()
        with pytest.raises(OSError, match="no more"):
            await soon(inbox.next())


async def test_a_server_that_is_waited_for_is_not_asked() -> None:
    """Its ``send`` tells when the client has gone."""
    writing = asyncio.Event()

    async def send(message: Any) -> None:
        await writing.wait()

    client = Client(send_buffer(send)[0])
    client.send("disconnect")
    client.send_buffer.put(Frame("full"))

    with client.inbox() as inbox:
        inbox._rest()
        inbox._look_ahead()
        assert client.messages.qsize() == 1
        writing.set()
        await soon(client.left.wait())


class Nothing(AsyncAPIConsumer):
    pass


class Both(Multiplexer):
    consumers: ClassVar = {"nothing": Nothing}


CONSUMERS = {
    "pages": TurboStreamsConsumer,
    "observers": Nothing,
    "multiplexer": Both,
    "pubsub": PubSubConsumer,
}
TOO_FAST = "Frames come faster than is allowed."


def reason(message: dict[str, Any]) -> Any:
    payload = message.get("payload", message)
    return payload.get("reason"), payload.get("detail") or payload.get("errors")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", CONSUMERS)
async def test_who_sends_too_fast_is_told_once_and_read_slowly(kind: str) -> None:
    application = URLRouter([path("ws/", CONSUMERS[kind].as_asgi())])
    limits = {"CONNECTION_LIMITS": {"FRAMES": 1}}
    with override_settings(TURBO=limits):
        async with Talk(application, user=AnonymousUser(), session=None) as client:
            heard = []
            await client.send(nonsense=True)
            while not heard or reason(heard[-1])[0] != "limit":
                heard.append(await client.receive())

            said = [m for m in heard if reason(m)[0] != "gap"]
            assert reason(said[-1]) in [("limit", TOO_FAST), ("limit", [TOO_FAST])]
            assert await client.communicator.receive_nothing()
