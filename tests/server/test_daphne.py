"""Daphne's own classes, told of what their transports hold."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, Request

from tests.support.servers import PATIENCE
from turbo.delivery.frame import Frame
from turbo.server.daphne import DaphneTransport, with_transport


class Transport:
    """A Twisted transport, as far as it is used."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_read = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pauseProducing(self) -> None:
        self.is_read = False

    def resumeProducing(self) -> None:
        self.is_read = True


class Protocol:
    """Autobahn's protocol, as far as it is used."""

    STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = 1, 2, 3

    def __init__(self) -> None:
        self.maxFramePayloadSize = 0
        self.maxMessagePayloadSize = 1_000
        self.transport = Transport()
        self.state = self.STATE_OPEN
        self.producer: Any = "the HTTP channel"
        self.dropped = False
        self.autoPingTimeoutCall: Any = None
        self.waits = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def dropConnection(self, *, abort: bool) -> None:
        self.dropped = abort

    def _cancelAutoPingTimeoutCall(self) -> None:
        self.waits += 1


class Server:
    """Daphne's server, as far as it is used."""

    application: Any
    connections: dict[Any, Any]
    looked = 0

    def timeout_checker(self) -> None:
        self.looked += 1

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        return scope


@pytest.fixture
def protocol() -> Protocol:
    return Protocol()


@pytest.fixture
def transport(protocol: Protocol) -> DaphneTransport:
    return DaphneTransport(protocol)


def test_a_websocket_is_offered_the_extension_and_a_request_is_not(
    protocol: Protocol,
) -> None:
    server = with_transport(Server)()

    websocket = server.create_application(protocol, {"type": "websocket"})
    request = server.create_application(protocol, {"type": "http"})

    assert list(websocket["extensions"]) == ["turbo.transport"]
    assert "extensions" not in request


def test_a_server_class_is_extended_once() -> None:
    once = with_transport(Server)

    assert with_transport(once) is once


def test_it_takes_the_place_of_the_request_as_the_producer(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    transport.on_room(lambda: None)

    assert protocol.producer is transport


def test_the_request_that_asked_for_the_upgrade_is_let_go(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    """It and its channel hold each other, until the collector looks at old objects."""
    channel = HTTPChannel()
    channel.makeConnection(StringTransport())
    channel.requests.append(Request(channel))
    protocol.transport.producer = channel  # type: ignore[attr-defined]
    kept = weakref.ref(channel.requests[0])
    gc.disable()
    try:
        transport.on_room(lambda: None)
        assert kept() is None
    finally:
        gc.enable()
        channel.setTimeout(None)


async def test_who_reads_is_not_taken_for_gone_while_its_pong_is_not_read(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    transport.on_room(lambda: None)
    transport.resumeProducing()
    assert protocol.waits == 0

    protocol.autoPingTimeoutCall = "soon"
    transport.resumeProducing()

    assert protocol.waits == 1


def test_half_a_request_whose_client_has_left_disturbs_no_look_at_the_others() -> None:
    channel = HTTPChannel()
    channel.makeConnection(StringTransport())
    left = Request(channel)
    channel.setTimeout(None)
    left.channel = None
    server = with_transport(Server)()
    server.websocket_connect_timeout = 5
    server.connections = {left: {"connected": 0.0}}

    server.timeout_checker()

    assert server.looked == 1


def test_a_frame_is_no_larger_than_what_consumers_take(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    transport.on_room(lambda: None)

    assert protocol.maxFramePayloadSize == 4 * 65_536
    assert protocol.maxMessagePayloadSize == 1_000


async def test_room_is_what_twisted_says(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    calls: list[str] = []
    transport.on_room(lambda: calls.append("room"))

    answers = [transport.write(Frame("a"))]
    transport.pauseProducing()
    answers.append(transport.write(Frame("b")))
    transport.resumeProducing()
    answers.append(transport.write(Frame("c")))

    assert protocol.transport.written == [b"\x81\x01a", b"\x81\x01b", b"\x81\x01c"]
    assert (answers, calls) == ([True, False, True], ["room"])


async def test_after_the_close_frame_nothing_is_written_and_the_transport_may_close(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    calls: list[str] = []
    transport.on_room(lambda: calls.append("room"))
    protocol.state = protocol.STATE_CLOSING

    transport.write(Frame("a"))
    transport.resumeProducing()

    assert (protocol.transport.written, protocol.producer, calls) == ([], None, [])


async def test_a_client_that_does_not_read_is_not_read_from(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    transport.on_room(lambda: None)

    transport.pauseProducing()
    is_read = [protocol.transport.is_read]
    transport.resumeProducing()

    assert [*is_read, protocol.transport.is_read] == [False, True]
    transport.lose()


async def test_a_lost_connection_tells_so_and_calls_nobody_about_room(
    transport: DaphneTransport,
) -> None:
    calls: list[str] = []
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    transport.carry(send, send)  # type: ignore[arg-type]
    transport.on_room(lambda: calls.append("room"))
    transport.on_lost(lambda: calls.append("lost"))
    transport.pauseProducing()
    waiting = asyncio.ensure_future(transport.send({"type": "websocket.send"}))
    await asyncio.sleep(0)
    assert sent == []

    transport.lose()
    transport.resumeProducing()

    await asyncio.wait_for(waiting, PATIENCE)
    assert (calls, len(sent)) == (["lost"], 1)


def test_abort_drops_the_connection(
    protocol: Protocol, transport: DaphneTransport
) -> None:
    transport.abort()

    assert protocol.dropped


class Tcp(Transport):
    """Twisted's own TCP transport, as far as it is used."""

    connected = True
    dataBuffer = b""

    def __init__(self) -> None:
        super().__init__()
        self._tempDataBuffer: list[bytes] = []

    def writeSomeData(self, data: bytes) -> int:
        raise NotImplementedError

    def fileno(self) -> int:
        return 7


@pytest.fixture
def over_tcp(protocol: Protocol) -> DaphneTransport:
    protocol.transport = Tcp()
    return DaphneTransport(protocol)


def test_frames_may_go_into_the_socket_while_it_is_open(
    protocol: Protocol, over_tcp: DaphneTransport
) -> None:
    assert (over_tcp.pipe, over_tcp.descriptor) == (over_tcp, 7)
    assert (over_tcp.is_closing(), over_tcp.get_write_buffer_size()) == (False, 0)

    protocol.transport.connected = False
    assert over_tcp.is_closing()

    protocol.transport.connected, protocol.state = True, protocol.STATE_CLOSING
    assert over_tcp.is_closing()


@pytest.mark.parametrize("held", [{"dataBuffer": b"x"}, {"_tempDataBuffer": [b"x"]}])
def test_what_waits_in_twisted_is_known(
    protocol: Protocol, over_tcp: DaphneTransport, held: dict[str, Any]
) -> None:
    vars(protocol.transport).update(held)

    assert over_tcp.get_write_buffer_size() == 1


async def test_what_the_kernel_does_not_take_is_left_to_twisted(
    protocol: Protocol, over_tcp: DaphneTransport
) -> None:
    assert over_tcp.write_rest(b"rest")
    over_tcp.pauseProducing()

    assert not over_tcp.write_rest(b"more")
    assert protocol.transport.written == [b"rest", b"more"]


def test_with_tls_twisted_writes_everything(transport: DaphneTransport) -> None:
    """Its transport is none of a socket, though it forwards the attributes of one."""
    assert transport.pipe is None


RUNSERVER = """
import os, sys, daphne.cli, django
from django.conf import settings
settings.configure(INSTALLED_APPS=["daphne", "turbo"])
django.setup()
from daphne.management.commands.runserver import Command
from daphne.server import Server
from tests.support.servers import PATIENCE
from turbo.server.daphne import with_transport
for server in (Command.server_cls, daphne.cli.CommandLineInterface.server_class):
    assert server is not Server and with_transport(server) is server, server
"""

ELSEWHERE = """
import sys, django
from django.conf import settings
from tests.support.servers import PATIENCE
settings.configure(INSTALLED_APPS=["turbo"])
django.setup()
assert not {"daphne.server", "twisted.internet.reactor"} & set(sys.modules)
"""


@pytest.mark.parametrize("code", [RUNSERVER, ELSEWHERE], ids=["daphne", "elsewhere"])
def test_the_app_puts_it_in_place_where_daphne_is_and_only_there(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )

    assert done.returncode == 0, done.stderr
