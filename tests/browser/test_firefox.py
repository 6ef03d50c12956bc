"""The client in Firefox, where what a page does depends on the browser."""

from __future__ import annotations

import pytest

from tests.browser.scripted import Site
from tests.browser.watching import connected, shows
from tests.support.firefox import BiDiError, FirefoxPage

pytestmark = pytest.mark.browser


async def test_nothing_is_lost_or_doubled_over_cuts(
    site: Site, firefox_page: FirefoxPage
) -> None:
    site.show("/", "chat")
    await firefox_page.goto(site.url())
    await connected(firefox_page)

    for number in range(1, 4):
        await site.publish("chat", f"live {number}")
        (await site.socket(number)).cut()
        await site.publish("chat", f"missed {number}")
        await shows(firefox_page, *site.log["chat"])
    await site.publish("chat", "last")

    await shows(firefox_page, *site.log["chat"])


async def test_a_person_works_in_it(site: Site, firefox_page: FirefoxPage) -> None:
    """What the other tests use of Firefox."""
    site.show(
        "/",
        body="""
            <input id="text" value="old"><input id="box" type="checkbox">
            <select id="choice"><option>a<option>b</select>
            <a href="/other" data-turbo="false">go</a>
        """,
    )
    site.show("/other", body="<p id=other>")
    page = firefox_page
    await page.add_init_script("window.isPrepared = true")
    await page.goto(site.url())

    await page.fill("#text", "new")
    await page.press("Tab")
    await page.type(" ")
    await page.select_option("#choice", "b")

    assert await page.evaluate("(sum) => sum + isPrepared", 1) == 2
    assert await page.input_value("#text") == "new"
    assert await page.is_checked("#box")
    assert await page.input_value("#choice") == "b"
    await page.click("a")
    await page.wait_for_selector("#other")
    await page.go_back()
    await page.wait_for_selector("#text")
    with pytest.raises(BiDiError, match="nowhere"):
        await page.evaluate("nowhere")
