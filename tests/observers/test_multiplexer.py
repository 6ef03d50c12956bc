"""Several consumers over one connection."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from rest_framework import permissions as drf

import turbo
from tests.connections.test_websocket import Server
from tests.observers.app.consumers import PersonConsumer, TokenConsumer
from tests.observers.app.models import Person, Token
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.delivery.hub import get_hub
from turbo.exceptions import ConfigurationError
from turbo.observers import AsyncAPIConsumer, IsAuthenticated, Multiplexer, action

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class MembersConsumer(PersonConsumer):
    permission_classes = (drf.IsAuthenticated,)


class LoggedInConsumer(PersonConsumer):
    permission_classes = (IsAuthenticated,)


class OddConsumer(AsyncAPIConsumer):
    @action()
    async def wait(self, **kwargs: Any) -> Any:
        await self.scope["event"].wait()
        return "waited", 200

    @action()
    async def fail(self, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    @action()
    async def leave(self, **kwargs: Any) -> Any:
        await self.close()
        return None, 200

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["action"] == "fail hard":
            raise RuntimeError("a bug deep down")
        await super().receive_json(content, **kwargs)


class BrokenConsumer(AsyncAPIConsumer):
    async def connect(self) -> None:
        raise RuntimeError("cannot connect")


class Everything(Multiplexer):
    consumers: ClassVar = {
        "people": PersonConsumer,
        "tokens": TokenConsumer,
        "members": MembersConsumer,
        "logged-in": LoggedInConsumer,
        "odd": OddConsumer,
        "broken": BrokenConsumer,
    }


async def ask(client: Client, stream: Any, **payload: Any) -> Any:
    await client.send(stream=stream, payload=payload)
    return await client.next()


async def test_each_stream_has_its_consumer(layer: str) -> None:
    ann = await Person.objects.acreate(name="Ann")
    token = await Token.objects.acreate(name="t")
    async with Client(Everything) as client:
        person = await ask(client, "people", action="retrieve", request_id=1, pk=ann.pk)
        subscribed = [
            await ask(
                client, stream, action="subscribe_instance", request_id=1, pk=str(pk)
            )
            for stream, pk in (("people", ann.pk), ("tokens", token.pk))
        ]
        await ann.asave()
        one = await client.next()
        await token.asave()
        other = await client.next()

    assert person == {
        "stream": "people",
        "payload": {
            "action": "retrieve",
            "errors": [],
            "response_status": 200,
            "request_id": 1,
            "data": {"id": ann.pk, "name": "Ann", "active": True, "team": None},
        },
    }
    assert [answer["stream"] for answer in subscribed] == ["people", "tokens"]
    assert (one["stream"], one["payload"]["data"]["id"]) == ("people", ann.pk)
    assert (other["stream"], other["payload"]["data"]["id"]) == (
        "tokens",
        str(token.pk),
    )


async def test_each_stream_has_its_permissions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refused at connect, refused at the action, broken: the others live on."""
    user = await User.objects.acreate(username="user")
    async with Client(Everything) as nobody, Client(Everything, user) as somebody:
        for client, statuses in (
            (nobody, (403, 403, 403, 200)),
            (somebody, (200, 200, 403, 200)),
        ):
            answers = [
                await ask(client, stream, action="ping", request_id="r")
                for stream in ("members", "logged-in", "broken", "people")
            ]
            found = [answer["payload"]["response_status"] for answer in answers]
            assert tuple(found) == statuses
            assert {answer["payload"]["request_id"] for answer in answers} == {"r"}

    assert "The consumer of the stream 'broken' failed." in caplog.text


async def test_one_that_waits_or_fails_does_not_take_the_others_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = asyncio.Event()
    async with Client(Everything, event=event) as client:
        failed = await ask(client, "odd", action="fail", request_id=1)
        hard = await ask(client, "odd", action="fail hard", request_id=1)
        await client.send(stream="odd", payload={"action": "wait", "request_id": 2})
        listed = await ask(client, "people", action="list", request_id=3)
        event.set()
        waited = await client.next()

    assert failed == {
        "stream": "odd",
        "payload": {
            "action": "fail",
            "errors": ["Internal server error"],
            "response_status": 500,
            "request_id": 1,
            "data": None,
        },
    }
    assert hard["payload"] == failed["payload"] | {"action": "fail hard"}
    assert listed["payload"]["data"] == []
    assert waited["payload"]["data"] == "waited"
    assert "a bug" in caplog.text
    assert "a bug deep down" in caplog.text


async def test_one_that_leaves_refuses_what_is_asked_of_it_later() -> None:
    async with Client(Everything) as client:
        left = await ask(client, "odd", action="leave", request_id=1)
        refused = await ask(client, "odd", action="wait", request_id=2)
        listed = await ask(client, "people", action="list", request_id=3)

    assert left["payload"]["response_status"] == 200
    assert refused["payload"]["response_status"] == 403
    assert listed["payload"]["response_status"] == 200


class LeavingConsumer(PersonConsumer):
    @action()
    async def leave(self, **kwargs: Any) -> Any:
        await self.close()
        return None, 200


class UndecidedConsumer(AsyncAPIConsumer):
    async def connect(self) -> None:
        await self.close()
        await self.accept()


class Ending(Multiplexer):
    consumers: ClassVar = {
        "leaving": LeavingConsumer,
        "people": PersonConsumer,
        "undecided": UndecidedConsumer,
    }


async def test_one_that_leaves_tells_of_no_event_later(layer: str) -> None:
    """Regression: its subscriptions went on."""
    ann = await Person.objects.acreate(name="Ann")
    given = {"action": "subscribe_instance", "request_id": 1, "pk": ann.pk}
    async with Client(Ending) as client:
        for stream in ("leaving", "people"):
            await ask(client, stream, **given)
        await ask(client, "leaving", action="leave", request_id=2)
        await ann.asave()
        event = await client.next()
        await ann.asave()
        next_event = await client.next()

    assert [event["stream"], next_event["stream"]] == ["people", "people"]


async def test_one_that_was_refused_is_not_accepted_afterwards() -> None:
    """Regression: a revocation while it connected was undone by its ``accept()``."""
    async with Client(Ending) as client:
        answer = await ask(client, "undecided", action="ping", request_id=1)

    assert answer["payload"]["response_status"] == 403


async def test_one_whose_end_is_cancelled_keeps_no_other_from_ending() -> None:
    """Regression: the hub kept the others for ever."""
    hangs = asyncio.Event()
    left: list[int] = []

    class Hanging(AsyncAPIConsumer):
        async def disconnect(self, code: int) -> None:
            hangs.set()
            await asyncio.Event().wait()

    class Noting(AsyncAPIConsumer):
        async def disconnect(self, code: int) -> None:
            left.append(code)

    class Both(Multiplexer):
        consumers: ClassVar = {"hanging": Hanging, "noting": Noting}

    def make(scope: Any, socket: Any) -> Both:
        endpoint = Both()
        endpoint.attach(scope, socket)
        return endpoint

    server = Server(make)
    hub = get_hub()
    server.leave(code=1001)
    await asyncio.wait_for(hangs.wait(), PATIENCE)
    server.task.cancel()
    await server.ended()

    assert (left, hub._connections) == ([1001], {})


@pytest.mark.parametrize(
    ("text", "stream", "status", "error"),
    [
        ("{", None, 400, "The frame is not JSON."),
        ('{"stream":"people","n":Infinity}', None, 400, "The frame is not JSON."),
        ("[]", None, 400, "The frame is not a JSON object."),
        ("{}", None, 400, "not of the form"),
        ('{"stream": "people"}', None, 400, "not of the form"),
        ('{"stream": "people", "payload": []}', None, 400, "not of the form"),
        ('{"stream": ["people"], "payload": {}}', None, 400, "not of the form"),
        ('{"stream": "no", "payload": {}}', "no", 404, "There is no stream 'no'."),
        ('{"stream": "people", "payload": {}}', "people", 405, "Unable to find action"),
        ("x" * 70_000, None, 413, "at most 65536 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_bad_input_gets_an_answer(
    text: str, stream: Any, status: int, error: str
) -> None:
    async with Client(Everything) as client:
        await client.send_text(text)
        answer = await client.next()
        alive = await ask(client, "people", action="ping", request_id=1)

    assert answer["stream"] == stream
    assert answer["payload"]["response_status"] == status
    assert error in answer["payload"]["errors"][0]
    assert alive["payload"]["response_status"] == 200


async def test_a_request_to_a_stream_that_is_not_there_gets_its_answer() -> None:
    """Or the client could not tell to which request it is."""
    async with Client(Everything) as client:
        answer = await ask(client, "no", action="retrieve", request_id=7, pk=1)

    assert answer == {
        "stream": "no",
        "payload": {
            "action": "retrieve",
            "errors": ["There is no stream 'no'."],
            "response_status": 404,
            "request_id": 7,
            "data": None,
        },
    }


async def test_a_client_whom_nobody_wants_is_refused() -> None:
    class Members(Multiplexer):
        consumers: ClassVar = {"members": MembersConsumer}

    communicator = WebsocketCommunicator(Members.as_asgi(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (False, 4403)


async def test_revocations_reach_every_stream() -> None:
    ann = await Person.objects.acreate(name="Ann")
    user = await User.objects.acreate(username="user")
    async with Client(Everything, user) as client:
        for stream in ("people", "members"):
            await ask(
                client, stream, action="subscribe_instance", request_id=1, pk=ann.pk
            )
        await sync_to_async(turbo.revoke)(user=user)
        ends = [await client.next(), await client.next()]

    assert {end["stream"] for end in ends} == {"people", "members"}
    assert {end["payload"]["response_status"] for end in ends} == {403}


async def test_frames_are_wrapped_without_being_parsed() -> None:
    async with Client(Everything) as client:
        await client.send_text(
            json.dumps(
                {
                    "stream": "people",
                    "payload": {"action": "é\ud800", "request_id": "é"},
                }
            )
        )
        answer = await client.next()

    assert answer["payload"]["request_id"] == "é"
    assert answer["payload"]["response_status"] == 405


def test_consumers_that_cannot_be_found_are_an_error_of_the_route() -> None:
    class Misspelt(Multiplexer):
        consumer: ClassVar[Any] = {"people": PersonConsumer}

    class Without(Multiplexer):
        pass

    with pytest.raises(ConfigurationError, match="'consumers', not 'consumer'"):
        Misspelt.as_asgi()
    with pytest.raises(ConfigurationError, match=r"attribute 'consumers'\."):
        Without.as_asgi()


@pytest.mark.parametrize("given", [PersonConsumer.as_asgi(), PersonConsumer(), dict])
def test_the_consumers_are_classes(given: Any) -> None:
    class Everything(Multiplexer):
        consumers: ClassVar[Any] = {"people": given}

    with pytest.raises(ConfigurationError, match="a consumer class, without as_asgi"):
        Everything.as_asgi()
