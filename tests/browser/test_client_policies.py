"""Trusted Types, as the how-to guide sets them up."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.scripted import POLICY, STATIC, Site
from tests.browser.watching import connected, shows
from tests.support.documents import DOCS, blocks

pytestmark = pytest.mark.browser

TYPES = "require-trusted-types-for 'script'; trusted-types default"
MINIFIED = ("turbo.min.js", "turbo-channels.min.js")

RECORD = """
    window.violations = []
    addEventListener("securitypolicyviolation", ({ violatedDirective, sample }) => {
      window.violations.push(`${violatedDirective}: ${sample}`)
    })
"""


@pytest.fixture
def typed_site(site: Site, tmp_path: Path) -> Site:
    """A site that requires Trusted Types, with the script of the guide."""
    page = DOCS / "howto" / "csp.rst"
    script = next(b for b in blocks(page, "javascript") if "trusted" in b.caption)
    site.static = tmp_path
    shutil.copytree(STATIC, tmp_path, dirs_exist_ok=True)
    (tmp_path / "trusted-types.js").write_text(script.code)
    site.headers["Content-Security-Policy"] = f"{POLICY}; {TYPES}"
    return site


async def test_the_default_policy_lets_turbo_and_the_client_work(
    typed_site: Site, page: Page
) -> None:
    site = typed_site
    policy = '<script src="/static/trusted-types.js"></script>'
    site.views["/"] = lambda: site.html("chat", head=policy, scripts=MINIFIED)
    site.views["/other"] = lambda: site.html(
        "chat", head=policy, scripts=MINIFIED, body="<p id=other></p>"
    )
    await page.add_init_script(RECORD)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await shows(page, "one")
    await page.evaluate("Turbo.visit('/other')")
    await page.wait_for_selector("#other", state="attached")
    await connected(page)
    site.log["chat"].append("lost")
    await site.sockets[0].send({"type": "gap", "stream": "id-chat", "position": "e1:2"})
    await shows(page, "one", "lost")

    assert await page.evaluate("window.violations") == []


async def test_the_default_policy_refuses_scripts_from_elsewhere(
    typed_site: Site, page: Page
) -> None:
    site = typed_site
    policy = '<script src="/static/trusted-types.js"></script>'
    site.views["/"] = lambda: site.html(head=policy, scripts=MINIFIED)
    await page.goto(site.url())

    refused = await page.evaluate(
        """["https://example.org/a.js", "/media/a.js", "/static/a.js"].filter((url) => {
            try {
              document.createElement("script").src = url
            } catch {
              return true
            }
        })"""
    )

    assert refused == ["https://example.org/a.js", "/media/a.js"]


@pytest_asyncio.fixture(loop_scope="session")
async def failing_page(browser: Browser) -> AsyncIterator[Page]:
    """A page whose errors do not fail the test."""
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


async def test_without_a_policy_only_turbo_is_refused(
    typed_site: Site, failing_page: Page
) -> None:
    """The client connects; Turbo cannot parse the message."""
    site, page = typed_site, failing_page
    site.views["/"] = lambda: site.html("chat", scripts=MINIFIED)
    await page.add_init_script(RECORD)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await page.wait_for_function("() => window.violations.length > 0")

    violations = await page.evaluate("window.violations")
    assert all(text.startswith("require-trusted-types-for") for text in violations)
    assert await page.locator("#chat li").count() == 0
