"""Connections of tenants: what they may ask for, and where it is decided."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, override_settings
from django.urls import path

import turbo
from tests.support.clients import Socket, cookies_of, signed_now
from tests.support.tenants import at, closed, current_tenant, tenant, using_tenants
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, RoomStream
from turbo.asgi import get_application
from turbo.connections.revocation import RECHECK
from turbo.delivery.hub import get_hub
from turbo.streams.stream import Stream
from turbo.typing import Receive, Scope, Send

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("layer", ["memory"], indirect=True),
    pytest.mark.usefixtures("layer"),
]


@pytest.fixture(autouse=True)
def _tenants(layer: str) -> Iterator[None]:
    with using_tenants():
        yield
    closed.clear()


#: The tenants in which permissions were asked: in the loop's view, and in the thread's.
asked: list[tuple[str, str]] = []


class Plain(Stream):
    def user_passes_test(self, user: Any) -> bool:
        asked.append((self.stream_name.partition("/")[0], current_tenant()))
        return True


class Waiting(Stream):
    async def user_passes_test(self, user: Any) -> bool:
        place = await sync_to_async(current_tenant)()
        asked.append((self.stream_name.partition("/")[0], place))
        return True


def signed(stream: Any, name: str, user: Any = None) -> str:
    with tenant(name):
        return str(stream.sign(user))


async def answers(socket: Socket, *names: str) -> list[str]:
    """Return what is answered for each name, in order."""
    found = {answer["name"]: answer for answer in await socket.subscribe(*names)}
    return [found[name].get("reason", found[name]["type"]) for name in names]


async def test_a_name_of_another_tenant_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those of its own tenant are accepted on the same connection."""
    names = [signed(Announcements(), name) for name in ("globex", "", "acme")]

    async with Socket(**at("acme")) as socket:
        assert await answers(socket, *names) == ["foreign", "foreign", "subscribed"]
    async with Socket(**at("")) as socket:
        assert await answers(socket, *names) == ["foreign", "subscribed", "foreign"]

    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_connection_gets_the_messages_of_its_tenant() -> None:
    async with Socket(**at("acme")) as ours, Socket(**at("globex")) as theirs:
        await ours.subscribe(signed(Announcements(), "acme"))
        await theirs.subscribe(signed(Announcements(), "globex"))
        with tenant("acme"):
            await Announcements().aupdate(text="Hi", id="a")

        assert len(await ours.messages()) == 1
        assert await theirs.nothing()


async def test_a_stranger_is_refused() -> None:
    socket = Socket(**at("stranger"))

    connected, _ = await socket.communicator.connect()

    assert not connected


@pytest.mark.parametrize("stream", [Plain, Waiting])
async def test_permissions_are_asked_in_the_tenant(stream: type[Stream]) -> None:
    """At the subscription, and again when the hub says so, which works for all."""
    asked.clear()
    async with Socket(**at("acme")) as socket, Socket(**at("globex")) as other:
        for each, name in ((socket, "acme"), (other, "globex")):
            assert await answers(each, signed(stream(), name)) == ["subscribed"]
        first, asked[:] = list(asked), []
        get_hub()._pass_on(RECHECK)
        for each in (socket, other):  # in turn, after the check
            await each.subscribe("x")

    assert first == [("acme", "acme"), ("globex", "globex")]
    assert sorted(asked) == first


async def test_without_the_tenant_nobody_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was closed after the handshake; the page may ask again."""
    asked.clear()
    name = signed(Plain(), "acme")
    async with Socket(**at("acme")) as socket:
        closed.add("acme")

        assert await answers(socket, name) == ["unavailable"]

    assert asked == []


async def test_a_revocation_is_for_the_user_of_one_tenant() -> None:
    """Another user has the same key in the other one."""
    ann = await User.objects.acreate(username="ann")
    async with Socket(ann, **at("acme")) as ours, Socket(ann, **at("globex")) as theirs:
        for socket, name in ((ours, "acme"), (theirs, "globex")):
            await socket.subscribe(await _signed_now(name, ann))
        with tenant("acme"):
            await sync_to_async(turbo.revoke, thread_sensitive=False)(user=ann)
            turbo.revoke(user=ann)

        assert (await ours.receive())["reason"] == "revoked"
        assert await theirs.nothing()
        names = [await _signed_now(name, ann) for name in ("acme", "globex")]
        assert await answers(theirs, names[1]) == ["subscribed"]


async def _signed_now(name: str, user: User) -> str:
    with tenant(name):
        return await signed_now(Announcements(), user)


async def test_limits_are_those_of_one_tenants_user() -> None:
    ann = await User.objects.acreate(username="ann")
    with using_tenants(USER_LIMITS={"NAMES": 1}):
        async with Socket(ann, **at("acme")) as one, Socket(ann, **at("globex")) as two:
            ours, theirs = (signed(Announcements(), n) for n in ("acme", "globex"))

            assert await answers(one, ours) == ["subscribed"]
            assert await answers(one, ours) == ["limit"]
            assert await answers(two, theirs) == ["subscribed"]


async def test_the_user_of_a_session_is_looked_up_in_the_tenant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also for consumers of the project, which find the tenant in their scope."""
    ann = await User.objects.acreate(username="ann")
    client = Client()
    await sync_to_async(client.force_login)(ann)
    scopes: list[Scope] = []

    async def consumer(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send({"type": "websocket.close"})

    found: list[str] = []
    get = User.get_session_auth_hash
    monkeypatch.setattr(
        User,
        "get_session_auth_hash",
        lambda user: (found.append(current_tenant()), get(user))[1],
    )
    headers = [*at("acme")["headers"], cookies_of(client)]
    headers.append((b"origin", b"http://acme.example.com"))
    with override_settings(ALLOWED_HOSTS=[".example.com"]):
        await _serve(get_application([path("own/", cast(Any, consumer))]), headers)

    assert [scope["user"] for scope in scopes] == [ann]
    assert scopes[0]["turbo.namespace"] == "acme"
    assert set(found) == {"acme"}


async def _serve(application: Any, headers: list[tuple[bytes, bytes]]) -> None:
    """Connect to the path of the project's own consumer."""
    scope = {
        "type": "websocket",
        "path": "/own/",
        "query_string": b"",
        "headers": headers,
        "subprotocols": [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        assert message["type"] == "websocket.close"

    await application(scope, receive, send)


async def test_an_event_stream_is_of_the_tenant_of_its_request() -> None:
    """The middleware of the project enters it, in the thread of the request."""
    ours, theirs = signed(Plain(), "acme"), signed(Plain(), "globex")
    asked.clear()
    with using_tenants():
        client = AsyncClient()
        answer: Any = await client.get("/turbo/sse/", {"stream": theirs}, **MIDDLE)

    assert (answer.status_code, answer.content) == (403, b"foreign")
    assert (asked, ours != theirs) == ([], True)


MIDDLE: dict[str, Any] = {"headers": {"host": "testserver"}}


async def test_a_stream_of_an_object_is_that_of_the_tenant() -> None:
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(**at("acme")) as socket:
        name = signed(RoomStream(room.pk), "acme")

        assert await answers(socket, name) == ["subscribed"]


class Answers(Stream):
    """Texts grow in it, and who whispers is asked."""

    class Meta:
        whispers = ("typing",)
        audiences = ("member", "guest")

    async def get_audience(self, user: Any) -> str:
        asked.append((self.stream_name.partition("/")[0], current_tenant()))
        return "member"

    def on_whisper(self, name: str, data: Any, user: Any) -> None:
        asked.append((self.stream_name.partition("/")[0], current_tenant()))


async def test_whispers_stay_in_the_tenant() -> None:
    """And the stream is asked there; so it is about audiences."""
    asked.clear()
    name = signed(Answers(), "acme")
    async with (
        Socket(**at("acme")) as speaker,
        Socket(**at("acme")) as ours,
        Socket(**at("globex")) as theirs,
    ):
        await speaker.subscribe(name)
        await ours.subscribe(name)
        await theirs.subscribe(signed(Answers(), "globex"))
        found, asked[:] = set(asked), []
        await speaker.send(type="whisper", name=name, whisper="typing", data=1)

        assert 'action="whisper"' in (await ours.receive())["data"]
        assert await theirs.nothing()

    assert asked == [("acme", "acme")]
    assert {tenant for tenant, _ in found} == {"acme", "globex"}


async def test_a_text_grows_in_the_tenant_in_which_it_was_begun() -> None:
    async with Socket(**at("acme")) as ours, Socket(**at("globex")) as theirs:
        for socket, name in ((ours, "acme"), (theirs, "globex")):
            await socket.subscribe(signed(Answers(), name))
        with tenant("acme"):
            answer = Answers().text(id="a")
        async with answer:
            await answer.awrite("Hello")

        assert 'action="grow"' in (await ours.receive())["data"]
        assert await theirs.nothing()
