"""Hold a check of permissions between its look at the user and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from turbo.connections import visitor
from turbo.connections.users import reload_user
from turbo.delivery.hub import get_hub

__all__ = ["reloading"]


@asynccontextmanager
async def reloading(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Begin a check; it has looked up the user before the block, and goes on after."""
    has_looked, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(session: Any, user: Any) -> Any:
        found = await reload_user(session, user)
        if not has_looked.is_set():
            has_looked.set()
            await may_go_on.wait()
        return found

    monkeypatch.setattr(visitor, "reload_user", slow)
    await get_hub()._recheck()
    await has_looked.wait()
    yield
    may_go_on.set()
