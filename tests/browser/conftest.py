from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.refreshing import AnyPage
from tests.browser.scripted import Site
from tests.support.firefox import Firefox, FirefoxPage, find_firefox
from tests.support.full import for_full_runs

_NO_FIREFOX = (
    "no Firefox: install the package 'firefox-esr' of your system, "
    "or set TURBO_FIREFOX to the program"
)


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """A site whose wire protocol the test scripts."""
    async with Site().running() as site:
        yield site


@pytest.fixture(params=["page", "firefox_page"], ids=["chromium", "firefox"])
def each_page(request: pytest.FixtureRequest) -> AnyPage:
    """A page in each browser, for what depends on the browser."""
    page: AnyPage = request.getfixturevalue(request.param)
    return page


@pytest.fixture(
    params=["page", pytest.param("firefox_page", marks=for_full_runs)],
    ids=["chromium", "firefox"],
)
def any_page(request: pytest.FixtureRequest) -> AnyPage:
    """A page in Chromium, and in a full run also in Firefox."""
    page: AnyPage = request.getfixturevalue(request.param)
    return page


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def firefox() -> AsyncIterator[Firefox]:
    """The Firefox of this machine; without one the test is skipped."""
    found = find_firefox()
    if found is None:
        required = os.environ.get("TURBO_REQUIRE_BROWSER") == "1"
        (pytest.fail if required else pytest.skip)(_NO_FIREFOX)
    async with Firefox.running(found) as firefox:
        yield firefox


@pytest_asyncio.fixture(loop_scope="session")
async def firefox_page(firefox: Firefox) -> AsyncIterator[FirefoxPage]:
    """A page in Firefox; an uncaught JavaScript error fails the test."""
    firefox.errors.clear()
    firefox.questions.clear()
    firefox.asked.clear()
    async with firefox.page() as page:
        yield page
    assert firefox.errors == []
