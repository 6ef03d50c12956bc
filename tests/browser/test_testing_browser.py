"""The kit's helper knows when a page hears, whatever drives the browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.async_api import Page
from playwright.sync_api import Page as SyncPage
from playwright.sync_api import sync_playwright

from tests.support.servers import PATIENCE, ROOT
from turbo.testing import await_for_streams, wait_for_streams

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@pytest.fixture
def url(make_project: Callable[..., Any], daphne: Callable[..., Any]) -> str:
    return str(daphne(make_project()).url)


@pytest.fixture
def in_browser(chromium: str) -> Iterator[Callable[..., Any]]:
    """Run a function with a page of the synchronous API, away from any event loop."""

    def run(use: Callable[[SyncPage], Any]) -> Any:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            try:
                return use(browser.new_page())
            finally:
                browser.close()

    with ThreadPoolExecutor(1) as thread:
        yield lambda use: thread.submit(run, use).result()


class Driver:
    """What Selenium has: a function body in JavaScript, and its arguments."""

    def __init__(self, page: SyncPage) -> None:
        self._page = page

    def execute_script(self, script: str, *arguments: Any) -> Any:
        code = "([script, args]) => new Function(script).apply(null, args)"
        return self._page.evaluate(code, [script, list(arguments)])


def connected(page: SyncPage) -> int:
    return page.locator("[signed-stream-name][connected]").count()


def test_the_synchronous_api(url: str, in_browser: Callable[..., Any]) -> None:
    def use(page: SyncPage) -> int:
        page.goto(f"{url}/boards/1/")
        wait_for_streams(page, timeout=PATIENCE)
        wait_for_streams(page, count=2, timeout=PATIENCE)
        return connected(page)

    assert in_browser(use) == 2


def test_a_driver_of_selenium(url: str, in_browser: Callable[..., Any]) -> None:
    def use(page: SyncPage) -> int:
        page.goto(f"{url}/boards/1/")
        wait_for_streams(Driver(page), timeout=PATIENCE)
        with pytest.raises(AssertionError, match="Expected 3 sources"):
            wait_for_streams(Driver(page), count=3, timeout=0.1)
        return connected(page)

    assert in_browser(use) == 2


def test_a_page_whose_policy_forbids_eval(
    url: str, in_browser: Callable[..., Any]
) -> None:
    def use(page: SyncPage) -> int:
        page.goto(f"{url}/boards/1/")
        page.evaluate(
            """() => {
              const policy = document.createElement("meta")
              policy.httpEquiv = "Content-Security-Policy"
              policy.content = "script-src 'self'"
              document.head.append(policy)
            }"""
        )
        wait_for_streams(page, timeout=PATIENCE)
        with pytest.raises(AssertionError, match="Expected 3 sources"):
            wait_for_streams(page, count=3, timeout=0.1)
        return connected(page)

    assert in_browser(use) == 2


class LeavingPage:
    """A page of Playwright that is replaced by another while it is looked at."""

    def __init__(self) -> None:
        self._answers: list[Any] = [
            RuntimeError("Execution context was destroyed, because of a navigation"),
            [["name", "waiting"]],
            [["name", "connected"]],
        ]
        self.pauses = 0

    def evaluate(self, code: str) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for_timeout(self, milliseconds: float) -> None:
        self.pauses += 1


def test_a_page_that_is_being_left() -> None:
    page = LeavingPage()

    wait_for_streams(page, timeout=PATIENCE)

    assert page.pauses == 2


def test_server_sent_events(url: str, in_browser: Callable[..., Any]) -> None:
    def use(page: SyncPage) -> Any:
        page.goto(f"{url}/boards/1/?transport=sse")
        wait_for_streams(page, timeout=PATIENCE)
        code = "document.querySelector('turbo-stream-source').streamSource.readyState"
        return page.evaluate(code)

    assert in_browser(use) == 1


def test_a_live_server_of_channels(
    make_project: Callable[..., Any], chromium: str
) -> None:
    """The test case of the guide, over a channel layer that crosses processes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.browser.live_case", chromium],
        cwd=ROOT,
        env=make_project("redis").env,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )

    assert done.returncode == 0, done.stderr


def test_a_page_without_sources(url: str, in_browser: Callable[..., Any]) -> None:
    def use(page: SyncPage) -> None:
        page.goto(f"{url}/boards/1/rename/")
        wait_for_streams(page, timeout=0.1)

    with pytest.raises(AssertionError) as caught:
        in_browser(use)

    assert str(caught.value) == (
        "Expected all sources to be connected:\n"
        "  none: is there a turbo_subscribe on the page?"
    )


async def test_a_denial_is_told_at_once(url: str, page: Page) -> None:
    await page.goto(f"{url}/login/eve/?next=/rooms/2/")

    with pytest.raises(AssertionError) as caught:
        await await_for_streams(page, timeout=PATIENCE)

    assert re.fullmatch(
        r"Expected all sources to be connected:\n  forbidden: \S+", str(caught.value)
    )


async def test_a_page_that_is_not_connected_in_time(url: str, page: Page) -> None:
    await page.route("**/turbo-channels.min.js", lambda route: route.abort())
    await page.goto(f"{url}/boards/1/")

    with pytest.raises(AssertionError) as caught:
        await await_for_streams(page, timeout=0.1)

    assert str(caught.value).count("\n  waiting: ") == 2


async def test_another_error_is_raised_as_it_is(url: str, page: Page) -> None:
    await page.close()

    with pytest.raises(Exception, match="closed"):
        await await_for_streams(page, timeout=PATIENCE)
