"""Which connections are recognised as uvicorn's, and what happens if it has changed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState

from turbo.server.uvicorn_transport import DirectTransport, find


class Transport(asyncio.Transport):
    """A transport whose buffer is always empty."""

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        self.limits = high, low

    def is_closing(self) -> bool:
        return False


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def protocol_of(kind: type[Any]) -> Any:
    protocol = kind(Config(application), ServerState(), {})
    protocol.connection_made(Transport({"peername": ("127.0.0.1", 1)}))
    return protocol


@pytest.mark.parametrize("kind", [WebSocketsSansIOProtocol, WSProtocol])
async def test_uvicorns_protocols_are_known(kind: type[Any]) -> None:
    """If uvicorn moves what is needed, this test says so."""
    protocol = protocol_of(kind)

    assert isinstance(find(protocol.send), DirectTransport)
    assert protocol.transport.limits == (1, 0)


async def test_the_send_of_something_else_is_not_known() -> None:
    class Wrapper:
        def __init__(self, protocol: Any) -> None:
            self.real_send = protocol.send

        async def send(self, message: Any) -> None:
            await self.real_send(message)

    class Other(WebSocketsSansIOProtocol):
        async def send(self, message: Any) -> None:
            await super().send(message)

    wrapper = Wrapper(protocol_of(WebSocketsSansIOProtocol))

    assert find(wrapper.send) is None
    assert find(wrapper.real_send.__self__.receive) is None
    assert find(application) is None
    assert find(protocol_of(Other).send) is None


async def test_a_uvicorn_that_has_changed_is_left_alone_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    protocols = [protocol_of(WebSocketsSansIOProtocol) for _ in range(3)]
    for protocol in protocols:
        del protocol.writable

    with caplog.at_level(logging.WARNING, "turbo.server"):
        found = [find(protocol.send) for protocol in protocols]

    assert found == [None] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "writable" in caplog.text
