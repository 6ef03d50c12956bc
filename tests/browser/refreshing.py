"""A page that is refreshed while somebody works on it."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from playwright.async_api import Page

from tests.browser.scripted import Reply, Site
from tests.browser.watching import connected
from tests.support.firefox import FirefoxPage

AnyPage: TypeAlias = Page | FirefoxPage

#: The bar of ``turbo/head.html``.
BAR = """
    <template id="turbo-channels-changed">
      This page has changed. <button type="button">Refresh</button>
    </template>
"""
BAR_SHOWN = "body [role=status] button"
REFRESH = (
    '<turbo-stream action="refresh" method="morph" scroll="preserve"></turbo-stream>'
)


class LivePage:
    """
    A page at ``/`` whose body the test changes.

    It counts how often the server rendered it, and shows that number.
    """

    def __init__(self, site: Site, page: AnyPage, body: str, *, head: str = "") -> None:
        self.site = site
        self.page = page
        self.body = body
        self.head = head
        self.version = 0
        #: What the server answers instead, one each time.
        self.replies: list[Reply] = []
        site.views["/"] = self._render

    def _render(self) -> str | Reply:
        if self.replies:
            return self.replies.pop(0)
        return self.html(self.body)

    def html(self, body: str) -> str:
        self.version += 1
        source = self.site.source("page")
        version = f'<p id="version">{self.version}</p>'
        return self.site.html(
            "chat", head=self.head + BAR, body=f"{source}{version}{body}"
        )

    async def open(self) -> None:
        """Open the page, and note what it says about itself."""
        await self.page.add_init_script(
            """
            Math.random = () => 0
            window.lost = []
            document.addEventListener("turbo-channels:input-lost", ({ detail }) => {
              const { name, value } = detail
              lost.push({ name, value })
            })
            window.gaveUp = []
            document.addEventListener("turbo-channels:gave-up", ({ detail }) => {
              gaveUp.push(detail.reason)
            })
            """
        )
        await self.page.goto(self.site.url())
        await connected(self.page, 2)
        await self.page.evaluate("window.marked = true")

    async def ask(self) -> None:
        """Broadcast a refresh."""
        await self.site.publish("page", REFRESH)

    async def refresh(self, body: str | None = None) -> None:
        """Broadcast a refresh, maybe to another body, and wait until it is shown."""
        if body is not None:
            self.body = body
        version = self.version + 1
        await self.ask()
        await self.shows(version)

    async def shows(self, version: int) -> None:
        """Wait until a version, or a later one, is shown."""
        await self.page.wait_for_function(
            """(version) =>
                Number(document.querySelector("#version")?.textContent) >= version &&
                !document.querySelector("html[aria-busy]") &&
                !Turbo.navigator.currentVisit""",
            arg=version,
        )

    async def bar(self) -> None:
        """Wait for the bar that says that the page has changed."""
        await self.page.wait_for_selector(BAR_SHOWN)

    async def value(self, selector: str) -> Any:
        return await self.page.evaluate(
            f"document.querySelector({json.dumps(selector)}).value"
        )

    async def lost(self) -> list[dict[str, str]]:
        """Return the input that the page has given up."""
        lost: list[dict[str, str]] = await self.page.evaluate("window.lost")
        return lost

    async def is_same(self) -> bool:
        """Return whether the document was never replaced."""
        return bool(await self.page.evaluate("window.marked === true"))


async def hurry(page: AnyPage) -> None:
    """Let all timers run twenty times as fast: the next attempts are far apart."""
    await page.add_init_script(
        """
        const later = window.setTimeout
        window.setTimeout = (run, delay, ...args) => later(run, delay / 20, ...args)
        """
    )
