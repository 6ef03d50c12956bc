"""
A WebSocket protocol for uvicorn that writes prepared frames directly to transports.

Name it on the command line; nothing else changes::

    uvicorn config.asgi:application --ws turbo.server:WebSocketProtocol
"""

from __future__ import annotations

from turbo.server.uvicorn import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
