"""How connections open and end, and groups of the channel layer."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, ClassVar

import pytest
from asgiref.sync import sync_to_async
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from django.test import override_settings
from redis.exceptions import TimeoutError as RedisTimeoutError

import turbo
from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.delivery.hub import IN_A_ROW, get_hub
from turbo.exceptions import ConfigurationError
from turbo.observers import AsyncAPIConsumer, Multiplexer, action, model_observer

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class RecordingConsumer(AsyncAPIConsumer):
    events: ClassVar[list[Any]] = []

    async def connect(self) -> None:
        await self.send_json({"before": "acceptance"})
        await self.accept(subprotocol="json", headers=[(b"x-own", b"1")])

    async def disconnect(self, code: int) -> None:
        self.events.append(code)


async def test_what_is_sent_before_the_acceptance_follows_it() -> None:
    communicator = WebsocketCommunicator(RecordingConsumer.as_asgi(), "/ws/")
    await communicator.send_input({"type": "websocket.connect"})

    assert await communicator.receive_output(PATIENCE) == {
        "type": "websocket.accept",
        "subprotocol": "json",
        "headers": [(b"x-own", b"1")],
    }
    assert await communicator.receive_json_from(PATIENCE) == {"before": "acceptance"}
    await communicator.disconnect(code=4321, timeout=PATIENCE)
    assert RecordingConsumer.events == [4321]


async def test_everything_is_left_when_the_connection_ends() -> None:
    ann = await Person.objects.acreate(name="Ann")
    async with Client(PersonConsumer) as stays:
        async with Client(PersonConsumer) as goes:
            await goes.ask("subscribe_instance", pk=ann.pk)
            await goes.ask("subscribe_list")
            subscribed = sum(get_hub().subscribers().values())
        left = sum(get_hub().subscribers().values())
        assert await stays.nothing()

    assert (subscribed, left) == (3, 1), "the control stream stays"


async def test_a_failing_connect_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    class Consumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            raise RuntimeError("a bug")

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (False, 1011)
    assert "a bug" in caplog.text


async def test_a_failing_disconnect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Consumer(AsyncAPIConsumer):
        async def disconnect(self, code: int) -> None:
            raise RuntimeError("a bug")

    async with Client(Consumer):
        pass

    assert "a bug" in caplog.text


async def test_refusing_by_closing() -> None:
    class Consumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            await self.close(4000, "no")

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (False, 4000)


async def test_a_server_that_ends_asks_to_come_back() -> None:
    communicator = WebsocketCommunicator(PersonConsumer.as_asgi(), "/ws/")
    await communicator.connect(timeout=PATIENCE)
    communicator.future.cancel()

    assert await communicator.receive_output(PATIENCE) == {
        "type": "websocket.close",
        "code": 1012,
    }


async def test_a_client_that_does_not_read_is_closed() -> None:
    """Only it: the others are told."""
    ann = await Person.objects.acreate(name="A" * 100)
    closed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    opened = asyncio.Event()
    frames: asyncio.Queue[Any] = asyncio.Queue()
    reads = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            opened.set()
        elif message["type"] == "websocket.close":
            closed.set_result(message["code"])
        else:
            await reads.wait()

    with override_settings(TURBO={"QUEUE_BYTES": 2_000}):
        scope = {"type": "websocket", "path": "/ws/", "headers": []}
        serving = asyncio.ensure_future(
            PersonConsumer.as_asgi()(scope, frames.get, send)
        )
        frames.put_nowait({"type": "websocket.connect"})
        await opened.wait()
        subscribe = {"action": "subscribe_instance", "request_id": 1, "pk": ann.pk}
        text = json.dumps(subscribe)
        frames.put_nowait({"type": "websocket.receive", "text": text})
        async with Client(PersonConsumer) as client:
            await client.ask("subscribe_instance", pk=ann.pk)
            for _ in range(30):
                await ann.asave()
                assert (await client.next())["action"] == "update"
        async with asyncio.timeout(PATIENCE):
            reads.set()
            await closed
            await serving

    assert closed.result() == 4008


async def test_a_handler_that_lags_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Consumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            await self.changes.subscribe()
            await super().connect()

        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("turbo.observers.connection.turns.LIMIT", 3)
    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws/")
    await communicator.connect(timeout=PATIENCE)
    for _ in range(6):
        await Person.objects.acreate(name="Ann")
    await sync_to_async(turbo.flush)()

    end = await communicator.receive_output(PATIENCE)
    assert end == {"type": "websocket.close", "code": 4008}
    await communicator.disconnect(timeout=PATIENCE)


async def test_bytes_can_be_sent() -> None:
    class Consumer(AsyncAPIConsumer):
        @action()
        async def bytes(self, **kwargs: Any) -> None:
            await self.send(bytes_data=b"\x00")

    async with Client(Consumer) as client:
        await client.send(action="bytes")
        assert await client.communicator.receive_from(5) == b"\x00"


class TalkingConsumer(AsyncAPIConsumer):
    groups = ("everybody",)

    @action()
    async def join(self, room: str, **kwargs: Any) -> Any:
        await self.add_group(room)
        return sorted(self.groups), 200

    @action()
    async def leave(self, room: str, **kwargs: Any) -> Any:
        await self.remove_group(room)
        return sorted(self.groups), 200

    @action()
    async def say(self, room: str, text: str, **kwargs: Any) -> None:
        message = {"type": "room.said", "text": text, "by": self.channel_name}
        await self.channel_layer.group_send(room, message)

    async def room_said(self, message: Any) -> None:
        own = message["by"] == self.channel_name
        await self.send_json({"said": message["text"], "own": own})


async def test_groups_of_the_channel_layer(layer: str) -> None:
    async with Client(TalkingConsumer) as one, Client(TalkingConsumer) as two:
        assert (await one.ask("join", room="r"))["data"] == ["everybody", "r"]
        await one.send(action="say", room="r", text="one")
        assert await one.next() == {"said": "one", "own": True}
        await one.send(action="say", room="everybody", text="all")
        assert await one.next() == {"said": "all", "own": True}
        assert await two.next() == {"said": "all", "own": False}
        assert (await one.ask("leave", room="r"))["data"] == ["everybody"]
        await two.send(action="say", room="r", text="nobody")
        assert await one.nothing()
        assert await two.nothing()


async def test_messages_of_groups_that_nobody_handles(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Client(TalkingConsumer) as client:
        for kind in ("no.such", "_private", ""):
            message = {"type": kind}
            await get_channel_layer().group_send("everybody", message)
        await client.send(action="say", room="everybody", text="alive")
        assert (await client.next())["said"] == "alive"

    assert "A consumer has no method for a message: 'no_such'" in caplog.text


async def test_groups_need_a_channel_layer(caplog: pytest.LogCaptureFixture) -> None:
    class Consumer(AsyncAPIConsumer):
        channel_layer_alias = "missing"

        @action()
        async def join(self, **kwargs: Any) -> Any:
            with pytest.raises(ConfigurationError, match="no entry 'missing'"):
                await self.add_group("r")
            return None, 200

    async with Client(Consumer) as client:
        assert (await client.ask("join"))["response_status"] == 200


async def test_only_websockets_are_served() -> None:
    communicator = ApplicationCommunicator(PersonConsumer.as_asgi(), {"type": "http"})

    with pytest.raises(
        ValueError, match="PersonConsumer serves WebSockets, not 'http'"
    ):
        await communicator.wait(PATIENCE)


async def test_as_asgi_passes_arguments_on() -> None:
    class Consumer(AsyncAPIConsumer):
        def __init__(self, colour: str) -> None:
            super().__init__()
            self.colour = colour

        @action()
        async def ask(self, **kwargs: Any) -> Any:
            return self.colour, 200

    class Red:
        @staticmethod
        def as_asgi() -> Any:
            return Consumer.as_asgi(colour="red")

    async with Client(Red) as client:
        assert (await client.ask("ask"))["data"] == "red"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(AcceptConnection, (True, None)), (DenyConnection, (False, 4403))],
)
async def test_accepting_and_refusing_as_channels_does(
    error: type[Exception], expected: Any
) -> None:
    class Consumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            raise error

        async def websocket_disconnect(self, message: Any) -> None:
            await super().websocket_disconnect(message)
            raise StopConsumer

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws/")
    assert await communicator.connect(timeout=PATIENCE) == expected
    await communicator.disconnect(timeout=PATIENCE)


async def test_an_end_without_a_code_is_a_normal_one() -> None:
    class Consumer(AsyncAPIConsumer):
        @action()
        async def leave(self, **kwargs: Any) -> None:
            await self.close()

    async with Client(Consumer) as client:
        await client.send(action="leave")

        end = await client.communicator.receive_output(PATIENCE)
        assert end == {"type": "websocket.close", "code": 1000}


class Quiet(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer whose client ends a wait again and again, as that of Redis does."""

    timeouts = 0
    refusals = 0

    async def group_add(self, group: str, channel: str) -> None:
        if channel in Quiet.of_consumers and Quiet.refusals:
            Quiet.refusals -= 1
            raise ConnectionError("not yet")
        await super().group_add(group, channel)

    async def receive(self, channel: str) -> Any:
        if channel in Quiet.of_consumers and Quiet.timeouts:
            Quiet.timeouts -= 1
            raise RedisTimeoutError("Timeout reading from socket")
        return await super().receive(channel)

    of_consumers: ClassVar[set[str]] = set()


class Garbled(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer on whose consumers' channels nothing can be read."""

    attempts = 0

    async def receive(self, channel: str) -> Any:
        if channel in self.groups.get("everybody", {}):
            Garbled.attempts += 1
            raise ValueError("garbled")
        return await super().receive(channel)


async def test_a_quiet_channel_is_waited_for_without_a_pause(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: each wait that Redis' client ended was followed by a longer pause."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Quiet"}}

    class Consumer(TalkingConsumer):
        async def connect(self) -> None:
            await super().connect()
            Quiet.of_consumers.add(self.channel_name)
            Quiet.timeouts = 1_000

    caplog.set_level(logging.INFO, "turbo.observers")
    async with Client(Consumer) as client:
        await client.send(action="say", room="everybody", text="all")
        assert (await client.next())["said"] == "all"

    assert Quiet.timeouts == 0
    assert "cannot be reached" not in caplog.text


async def test_a_channel_with_nothing_readable_is_asked_less_often(
    settings: Any,
) -> None:
    """Regression: it was asked again in every turn of the loop."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Garbled"}}
    Garbled.attempts = 0

    async with Client(TalkingConsumer):
        async with asyncio.timeout(PATIENCE):
            while Garbled.attempts <= IN_A_ROW:  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0)
        for _ in range(1_000):
            await asyncio.sleep(0)

    assert Garbled.attempts < 2 * IN_A_ROW


async def test_a_group_is_joined_again_however_often_that_fails(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: one that could not be joined at once was left for an hour."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Quiet"}}
    channels: list[str] = []

    class Consumer(TalkingConsumer):
        async def connect(self) -> None:
            await super().connect()
            channels.append(self.channel_name)

    async with Client(Consumer) as client:
        the_layer: Any = get_channel_layer()
        Quiet.of_consumers.update(channels)
        Quiet.timeouts = Quiet.refusals = 1
        the_layer.groups.pop("everybody")
        message = {"type": "room.said", "text": "wake", "by": ""}
        await the_layer.send(channels[0], message)
        assert (await client.next())["said"] == "wake"
        async with asyncio.timeout(PATIENCE):
            while "everybody" not in the_layer.groups:  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0.01)
        await client.send(action="say", room="everybody", text="all")
        assert (await client.next())["said"] == "all"

    said = [text for text in caplog.messages if "channels of consumers" in text]
    assert said == [
        "The channels of consumers cannot be reached: ConnectionError: not yet",
        "The channels of consumers can be reached again.",
    ]


async def test_a_consumer_that_cannot_be_attached_leaves_nothing_in_the_hub(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Regression: pings and revocations went on to be sent to it."""
    hubs: list[Any] = []

    class Broken(PersonConsumer):
        def attach(self, scope: Any, link: Any) -> None:
            super().attach(scope, link)
            hubs.append(self._live.hub)
            raise LookupError("The project's own code failed.")

    class Both(Multiplexer):
        consumers: ClassVar[Any] = {"sound": PersonConsumer, "broken": Broken}

    for application in (Broken, Both):
        communicator = WebsocketCommunicator(application.as_asgi(), "/ws/")
        assert not (await communicator.connect(PATIENCE))[0]
        await communicator.disconnect(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while hubs[-1]._connections:  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0)

    assert len(hubs) == 2
    assert "The project's own code failed." in caplog.text
