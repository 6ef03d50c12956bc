from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.browser.scripted import Site


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """A site whose wire protocol the test scripts."""
    async with Site().running() as site:
        yield site
