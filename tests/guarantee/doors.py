"""Visitors of the live servers, and a door at which the tests of one of them wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers import PATIENCE, wait_until

__all__ = ["Door", "log_in"]


class Door:
    """What tests of the stream ``Gated`` wait for when eve asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {"TURBO_TEST_DOOR": str(path)}

    def open(self) -> None:
        self.path.touch()

    def asked(self) -> list[str]:
        """Return who has asked so far, each with what for."""
        asked = self.path.with_suffix(".asked")
        return asked.read_text().splitlines() if asked.exists() else []

    async def until_asked(self, line: str, times: int = 1) -> None:
        await asyncio.to_thread(
            wait_until, lambda: self.asked().count(line) >= times, what=line
        )


async def log_in(server: Any, username: str) -> dict[str, str]:
    """Return the headers of a visitor who has logged in."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        answer = await http.get(f"/login/{username}/")
    return {"Cookie": f"sessionid={answer.cookies['sessionid']}"}
