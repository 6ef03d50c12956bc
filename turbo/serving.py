"""
The event loop that serves in this process, if any.

``InMemoryChannelLayer`` is not thread-safe: only the loop whose consumers receive from
it may send to it. Those who serve say so here, and the publisher asks.
"""

from __future__ import annotations

import asyncio

__all__ = ["expect", "expected", "loop", "register"]

_loop: asyncio.AbstractEventLoop | None = None
_expected = False


def expect() -> None:
    """Note that an ASGI application was made, so that a server is likely to run."""
    global _expected
    _expected = True


def expected() -> bool:
    """Return whether a server runs in this process, or is likely to."""
    return _expected or loop() is not None


def register(serving: asyncio.AbstractEventLoop) -> None:
    """Note the loop that serves; the last one registered counts."""
    global _loop
    _loop = serving


def loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that serves, or ``None``."""
    return None if _loop is None or _loop.is_closed() else _loop
