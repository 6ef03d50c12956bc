"""Which connections are recognised as uvicorn's, and what is written to them."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

import pytest
from channels.sessions import InstanceSessionWrapper
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from tests.support.servers import PATIENCE
from turbo.connections.send_buffer import SendBuffer
from turbo.connections.transports import inmost, is_same
from turbo.delivery.frame import Frame
from turbo.server.uvicorn_transport import DirectTransport, compressed, find


class Transport(asyncio.Transport):
    """A transport without a socket, which keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.waiting = b""
        self.is_lost = False

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        self.limits = high, low

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write(self, data: Any) -> None:
        self.waiting += data

    def is_closing(self) -> bool:
        return self.is_lost


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def protocol_of(kind: type[Any] = WebSocketsSansIOProtocol) -> Any:
    protocol = kind(Config(application), ServerState(), {})
    protocol.connection_made(Transport())
    return protocol


async def test_uvicorns_protocol_is_known() -> None:
    """If uvicorn moves what is needed, this test says so."""
    protocol = protocol_of()

    assert isinstance(find(protocol.send), DirectTransport)
    assert protocol.transport.limits == (1, 0)


class Proxy:
    """What looks like another object, as those of tracing libraries."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._wrapped == other)

    async def __call__(self, message: Any) -> None:
        await self._wrapped(message)


def wrapped(send: Any) -> Any:
    class Wrapper:
        async def send(self, message: Any) -> None:
            await send(message)

    return Wrapper().send


def closure(send: Any) -> Any:
    async def wrapper(message: Any) -> None:
        await send(message)

    return wrapper


@pytest.mark.parametrize("wrap", [wrapped, closure, Proxy])
async def test_what_stands_between_is_not_looked_through(
    wrap: Callable[[Any], Any],
) -> None:
    send = protocol_of().send

    assert find(wrap(send)) is None
    assert not is_same(wrap(send), send)


async def test_only_the_session_wrapper_of_channels_is_looked_through() -> None:
    class Own(InstanceSessionWrapper):
        pass

    send = protocol_of().send
    wrappers = [object.__new__(kind) for kind in (InstanceSessionWrapper, Own)]
    for wrapper in wrappers:
        wrapper.real_send = send

    assert [inmost(wrapper.send) == send for wrapper in wrappers] == [True, False]
    assert inmost(Proxy(wrappers[0].send)) != send


async def test_other_protocols_and_changed_ones_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(WebSocketsSansIOProtocol):
        async def send(self, message: Any) -> None:
            await super().send(message)

    known = protocol_of()
    assert find(known.receive) is None
    assert find(application) is None
    assert find(protocol_of(Other).send) is None

    original = WebSocketsSansIOProtocol.send

    @wraps(original)
    async def traced(self: Any, message: Any) -> None:
        await original(self, message)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "send", traced)
    assert find(known.send) is None


async def test_a_uvicorn_that_has_changed_is_left_alone_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    protocols = [protocol_of() for _ in range(3)]
    for protocol in protocols:
        del protocol.writable

    with caplog.at_level(logging.WARNING, "turbo.server"):
        found = [find(protocol.send) for protocol in protocols]

    assert found == [None] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "writable" in caplog.text


async def test_a_uvicorn_that_does_not_note_a_full_buffer_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it was before 0.52.1."""
    monkeypatch.delattr(WebSocketsSansIOProtocol, "pause_writing")

    assert find(protocol_of().send) is None


async def test_a_client_that_has_left_already_is_nothing_to_warn_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    protocol = protocol_of()
    protocol.transport.is_lost = True

    assert find(protocol.send) is None
    assert caplog.records == []


async def test_a_buffer_that_an_answer_to_http_has_filled_is_noticed() -> None:
    """The protocol of HTTP was told then, and that of the WebSocket never is."""
    protocol, has_room = protocol_of(), asyncio.Event()
    protocol.transport.waiting = b"HTTP/1.1 200 OK"
    transport = find(protocol.send)
    assert transport is not None
    transport.on_room(has_room.set)

    assert protocol.writable.is_set()
    assert not transport.write(Frame("a"))
    assert not protocol.writable.is_set()

    protocol.transport.waiting = b""
    protocol.resume_writing()
    await asyncio.wait_for(has_room.wait(), PATIENCE)


async def test_nothing_is_kept_for_a_client_that_has_gone() -> None:
    """Nor is there anything to wait for, whatever the server still holds."""
    protocol = protocol_of()
    transport = find(protocol.send)
    assert transport is not None
    protocol.transport.waiting, protocol.transport.is_lost = b"rest", True

    assert transport.write(Frame("a"))
    assert (protocol.transport.waiting, protocol.writable.is_set()) == (b"rest", True)


async def test_who_does_not_read_is_dropped_when_it_has_left() -> None:
    """With what waits for it, soon after: otherwise this would stay as it likes."""
    protocol = protocol_of()
    aborted = asyncio.Event()
    protocol.transport.abort = aborted.set
    box = SendBuffer({}, protocol.send, on_slow=lambda: None)
    box.put(Frame("a"))
    assert box.is_blocked

    await box.close()

    await asyncio.wait_for(aborted.wait(), PATIENCE)


def test_frames_are_compressed_by_several_loops_at_once() -> None:
    texts = [f"{number} " * 2_000 for number in range(50)]

    with ThreadPoolExecutor(4) as threads:
        frames = list(threads.map(lambda text: compressed(text, (12,)), texts * 4))

    for text, frame in zip(texts * 4, frames, strict=True):
        assert inflated(frame) == text


def inflated(frame: bytes) -> str:
    start = 2 if frame[1] < 126 else 4
    data = zlib.decompressobj(-12).decompress(frame[start:] + b"\0\0\xff\xff")
    return data.decode()
