"""
The fast way out under uvicorn: prepared frames, written straight to each transport.

Named on the command line, nothing else changes::

    uvicorn config.asgi:application --ws turbo.server:WebSocketProtocol
"""

from __future__ import annotations

from turbo.server.uvicorn import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
