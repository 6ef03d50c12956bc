"""
Take the pictures of the sample chat that this documentation shows.

``python docs/screenshots.py`` starts the sample chat with its demo rows and drives a
Chromium; ``docs/conf.py`` shows what it has written to ``docs/_build/screenshots``.
Pictures are not committed. Without a browser there are none, and none are shown.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from tests.sample_chat.conftest import SampleChat, manage  # noqa: E402
from tests.support.browsers import FLAGS, find_chromium  # noqa: E402
from tests.support.servers import Valkey  # noqa: E402

PICTURES = ROOT / "docs" / "_build" / "screenshots"
WINDOW = {"width": 800, "height": 560}
STILL: dict[str, Any] = {"locale": "en-GB", "reduced_motion": "reduce"}
BADGE = "turbo-channels-status [part=text]"
PHONE = {"width": 360, "height": 640}


def main() -> None:
    if (chromium := find_chromium()) is None:
        print("No Chromium: the documentation goes without pictures.")
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=60_000)  # the machine may have other work
    with (
        tempfile.TemporaryDirectory() as name,
        running(Path(name)) as chats,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        take_pictures(browser, *chats)
        browser.close()
    print(f"The pictures are in {PICTURES.relative_to(ROOT)}.")


@contextmanager
def running(directory: Path) -> Iterator[tuple[SampleChat, SampleChat]]:
    """Run the sample chat in two processes, on a database and a Valkey of their own."""
    manage(directory, "migrate", "--verbosity", "0")
    manage(directory, "demo")
    with ExitStack() as stack:
        valkey = Valkey(directory)
        chats = [SampleChat(directory, REDIS_URL=valkey.url) for _ in range(2)]
        for process in (valkey, *chats):
            process.start()
            stack.callback(process.stop)
        yield chats[0], chats[1]


def take_pictures(browser: Browser, chat: SampleChat, other: SampleChat) -> None:
    """Take all of them; the last one stops a server."""
    ada = visit(browser, chat, "ada", "/rooms/1/", viewport=WINDOW)
    grace = visit(browser, other, "grace", "/rooms/1/", viewport=WINDOW)
    ada.get_by_role("textbox", name="Message").fill("Is there a biscuit left?")
    ada.keyboard.press("Enter")
    expect(grace.locator(".message").last).to_contain_text("biscuit left")
    save(browser, "two-windows", ada.screenshot(), grace.screenshot())

    ada.get_by_role("textbox", name="Message").press_sequentially("And some tea")
    expect(grace.locator("typing-notice")).not_to_be_empty()
    save(browser, "typing", ada.screenshot(), grace.screenshot())
    ada.get_by_role("textbox", name="Message").clear()

    dark: dict[str, Any] = {"viewport": PHONE, "color_scheme": "dark"}
    paths = ("/rooms/1/", "/board/", "/pocket/")
    phones = [visit(browser, chat, "grace", path, **dark) for path in paths]
    expect(phones[-1].get_by_role("log").get_by_role("listitem").first).to_be_visible()
    save(browser, "phone", *(page.screenshot() for page in phones))

    stranger = visit(browser, chat, "grace", "/rooms/3/", viewport=WINDOW)
    expect(stranger.get_by_role("alert")).to_contain_text("not a member")
    inspector = visit(browser, chat, "ada", "/rooms/1/", viewport=WINDOW)
    inspector.goto("/__turbo__/")
    inspector.set_viewport_size({"width": 1024, "height": 1100})
    expect(inspector.locator("#turbo-processes tr")).to_have_count(2)
    save(browser, "inspector-staff", inspector.screenshot())
    inspector.locator("#turbo-broadcasts").evaluate("(title) => title.scrollIntoView()")
    save(browser, "inspector", inspector.screenshot())

    chat.stop()
    expect(ada.locator(BADGE)).to_contain_text("Connection lost")
    save(browser, "offline", ada.screenshot())


def visit(
    browser: Browser, chat: SampleChat, name: str, path: str, **options: Any
) -> Page:
    """Return a live page of somebody who has logged in."""
    page = browser.new_context(base_url=chat.url, **STILL, **options).new_page()
    page.goto(f"/login/?next={path}")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(name)
    page.keyboard.press("Enter")
    expect(page.locator(BADGE)).to_have_text("Live")
    return page


def save(browser: Browser, name: str, *pictures: bytes) -> None:
    """Write pictures of one size, side by side."""
    write(browser, PICTURES / f"{name}.png", *pictures)


def write(browser: Browser, path: Path, *pictures: bytes) -> None:
    """Write pictures side by side into one file."""
    sources = [base64.b64encode(picture).decode() for picture in pictures]
    images = [f'<img src="data:image/png;base64,{source}">' for source in sources]
    page = browser.new_page(viewport={"width": 2600, "height": 1200})
    row = "".join(images)
    page.set_content(f'<p style="display: inline-flex; gap: 12px">{row}</p>')
    page.locator("p").screenshot(path=path, omit_background=True)
    page.close()


if __name__ == "__main__":
    main()
