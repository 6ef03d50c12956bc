"""
Frames that are written to uvicorn's transports, with and without the class of ours.

The protocol is the same, whatever the client has negotiated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.test import override_settings
from websockets.asyncio.client import ClientConnection
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

import turbo
from tests.support.clients import connect
from tests.support.hostile import standing
from tests.support.servers import PATIENCE, Uvicorn
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import shut_down

LONG = "<b>long</b> " * 1_000
OURS = ("--ws", "turbo.server:WebSocketProtocol")
APPLICATION = "tests.project.counted:application"


@pytest.fixture(
    params=[
        pytest.param(("--loop", "uvloop"), id="uvloop"),
        pytest.param(("--loop", "asyncio"), id="asyncio"),
        pytest.param((*OURS, "--loop", "uvloop"), id="ours on uvloop"),
        pytest.param((*OURS, "--loop", "asyncio"), id="ours on asyncio"),
    ]
)
def server(
    request: pytest.FixtureRequest,
    valkey: Any,
    make_project: Callable[..., Any],
    uvicorn: Callable[..., Uvicorn],
) -> Any:
    project = make_project("redis")
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        yield uvicorn(project, *request.param, application=APPLICATION)
        shut_down(5)


@asynccontextmanager
async def subscribed(
    server: Uvicorn, **options: Any
) -> AsyncIterator[ClientConnection]:
    origin: Any = server.url
    async with connect(f"{server.ws_url}/ws/", origin=origin, **options) as socket:
        streams = [{"name": Announcements().signed_stream_name, "since": ""}]
        await socket.send(json.dumps({"type": "subscribe", "streams": streams}))
        assert (await receive(socket))["type"] == "subscribed"
        yield socket


async def receive(socket: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
    return frame


DEFLATE = {
    "none": {"compression": None},
    "usual": {"compression": "deflate"},
    "small window": {
        "compression": None,
        "extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=9)],
    },
}


async def test_short_and_long_messages_arrive_whatever_was_negotiated(
    server: Uvicorn,
) -> None:
    """All at once, so that what was made for one client is also given to another."""
    async with (
        subscribed(server, **DEFLATE["none"]) as plain,
        subscribed(server, **DEFLATE["usual"]) as usual,
        subscribed(server, **DEFLATE["usual"]) as again,
        subscribed(server, **DEFLATE["small window"]) as small,
    ):
        sockets = [plain, usual, again, small]
        for text in ["short", LONG, "é" * 2_000, "last"]:
            Announcements().append(text=text, id="list")
        await sync_to_async(turbo.flush)()
        heard = [[(await receive(s))["data"] for _ in range(4)] for s in sockets]

        negotiated = [len(socket.protocol.extensions) for socket in sockets]
        written = await asyncio.to_thread(standing, server)

    assert heard == [heard[0]] * 4
    assert "short" in heard[0][0]
    assert negotiated == [0, 1, 1, 1]
    # Those above, and that each is subscribed.
    assert written["direct"] == 4 * (4 + 1)


async def test_bytes_and_long_texts_by_turns(server: Uvicorn) -> None:
    """Some are compressed by uvicorn and some by us; each is read without the other."""
    origin: Any = server.url
    async with connect(f"{server.ws_url}/working/", origin=origin) as socket:
        for number in range(5):
            await socket.send(json.dumps({"action": "both", "request_id": number}))
            whole = [await asyncio.wait_for(socket.recv(), PATIENCE) for _ in range(2)]

            assert whole[0] == b"bytes and more bytes" * 200
            assert json.loads(whole[1])["data"] == ["text and more text"] * 200


async def test_a_fragmented_message_and_a_ping_in_between(server: Uvicorn) -> None:
    """The client is in the middle of a message of its own while it is sent others."""

    async def pieces() -> AsyncIterator[str]:
        yield '{"type":'
        Announcements().append(text="now", id="list")
        assert "now" in (await receive(socket))["data"]
        await (await socket.ping())
        yield '"ping"}'

    async with subscribed(server) as socket:
        await socket.send(pieces())

        assert await receive(socket) == {"type": "pong"}


async def test_the_end_of_the_server_is_told_with_1012(server: Uvicorn) -> None:
    async with subscribed(server) as socket:
        await asyncio.to_thread(server.stop)
        with pytest.raises(websockets.ConnectionClosed):
            await receive(socket)

    assert socket.close_code == 1012


async def test_a_client_that_went_away_does_not_disturb_the_others(
    server: Uvicorn,
) -> None:
    async with subscribed(server) as stays:
        async with subscribed(server) as goes:
            goes.transport.abort()
        for number in range(20):
            Announcements().append(text=str(number), id="list")
        heard = [(await receive(stays))["data"] for _ in range(20)]

    assert [f"<template>{n}<" in data for n, data in enumerate(heard)] == [True] * 20
    assert "Traceback" not in server.log()
