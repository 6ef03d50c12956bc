"""A page of gunicorn on WSGI, whose sockets are those of ``turbo_live``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from playwright.async_api import Page

from tests.server.test_live import Gunicorn, TurboLive
from tests.support.servers import Project, WebServer, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLAR = "/rooms/2/"


@pytest.fixture
def servers(make_project: Callable[..., Project]) -> Iterator[tuple[WebServer, ...]]:
    """The site and the live server on two ports, as the how-to has them."""
    site, live = free_port(), free_port()
    project = make_project(
        "redis",
        TURBO={"WEBSOCKET_PATH": f"ws://127.0.0.1:{live}/ws/"},
        CSRF_TRUSTED_ORIGINS=[f"http://127.0.0.1:{site}"],
    )
    started = Gunicorn(project, site), TurboLive(project, "daphne", port=live)
    try:
        for server in started:
            server.start()
        yield started
    finally:
        for server in started:
            server.kill()


async def test_members_see_what_gunicorn_saves_and_others_are_refused(
    servers: tuple[WebServer, ...], new_page: Callable[[], Awaitable[Page]]
) -> None:
    """Their sessions, which gunicorn has made, hold on the other port too."""
    site, live = servers
    ann, nobody = await new_page(), await new_page()
    refused = asyncio.get_running_loop().create_future()

    def hear(text: str) -> None:
        if "forbidden" in text and not refused.done():
            refused.set_result(text)

    nobody.on("console", lambda message: hear(message.text))
    await ann.goto(f"{site.url}/login/ann/?next={CELLAR}")
    await nobody.goto(site.url + CELLAR)
    await ann.wait_for_selector(
        "turbo-channels-stream-source[connected]", state="attached"
    )
    await refused

    await ann.evaluate("fetch('/rooms/2/say/?text=secret')")
    await ann.wait_for_selector("li:has-text('secret')", state="attached")

    assert await nobody.locator("li:has-text('secret')").count() == 0
    assert live.running
