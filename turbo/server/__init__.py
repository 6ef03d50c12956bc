"""
Frames that are written directly to the transports of servers.

Under uvicorn and Daphne this needs no configuration. A WebSocket protocol for uvicorn
also controls what is read, against hostile clients. Name it on the command line;
nothing else changes::

    uvicorn config.asgi:application --ws turbo.server:WebSocketProtocol
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turbo.server.uvicorn import WebSocketProtocol

__all__ = ["WebSocketProtocol"]


def __getattr__(name: str) -> Any:
    # Load uvicorn only in projects that use it; the rest of the package needs none.
    if name == "WebSocketProtocol":
        return import_module("turbo.server.uvicorn").WebSocketProtocol
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
