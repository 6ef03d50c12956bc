"""
Take a picture of every page of the sample chat, to look at.

``python docs/pages.py FOLDER`` takes each page in light and in dark colours, on a
phone, a tablet and a desktop, side by side in one picture for each page and scheme.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from screenshots import STILL, start, write

from tests.sample_chat.conftest import SampleChat
from tests.support.browsers import FLAGS, find_chromium

WIDTHS = {360: 740, 768: 900, 1280: 800}
SCHEMES = ("light", "dark")

#: Every page, by the name of its picture: who sees it, where, and what is there then.
PAGES = {
    "log-in": ("", "/login/", "form"),
    "rooms": ("ada", "/", ".welcome"),
    "room": ("ada", "/rooms/1/", ".message"),
    "room-of-members": ("ada", "/rooms/3/", ".message"),
    "room-of-others": ("grace", "/rooms/3/", "denied-notice:not([hidden])"),
    "room-with-history": ("ada", "/rooms/4/", ".message .text"),
    "older-messages": ("ada", "/rooms/4/before/100/", ".message .text"),
    "new-room": ("ada", "/rooms/new/", "form.stack"),
    "members": ("ada", "/rooms/1/members/", "turbo-frame"),
    "edit-message": ("ada", "/messages/1/edit/", "turbo-frame textarea"),
    "delete-message": ("ada", "/messages/1/delete/", "blockquote"),
    "announce": ("ada", "/announcements/", "form.stack"),
    "not-allowed": ("grace", "/announcements/", "h1"),
    "board": ("ada", "/board/", ".card"),
    "edit-card": ("ada", "/board/cards/1/", ".card form"),
    "pocket": ("ada", "/pocket/", "pocket-chat li"),
    "scores": ("ada", "/scores/", "score-board"),
    "inspector": ("ada", "/__turbo__/", "main"),
}


def main(folder: Path) -> None:
    chromium = find_chromium()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        chat = start(Path(name))
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            for scheme in SCHEMES:
                take_pages(browser, chat, scheme, folder)
        finally:
            browser.close()
            chat.stop()
    print(f"The pictures are in {folder}.")


def take_pages(browser: Browser, chat: SampleChat, scheme: str, folder: Path) -> None:
    users = {
        name: Visitor(browser, chat, scheme, name) for name in ("", "ada", "grace")
    }
    for name, (user, path, content) in PAGES.items():
        pictures = users[user].pictures(path, content)
        write(browser, folder / f"{name}-{scheme}.png", *pictures)


class Visitor:
    """Somebody who looks at pages in one colour scheme."""

    def __init__(
        self, browser: Browser, chat: SampleChat, scheme: str, name: str
    ) -> None:
        context = browser.new_context(base_url=chat.url, color_scheme=scheme, **STILL)  # type: ignore[arg-type]
        self.page = context.new_page()
        if name:
            self.page.goto("/login/")
            self.page.get_by_label("Username").fill(name)
            self.page.get_by_label("Password").fill(name)
            self.page.keyboard.press("Enter")
            self.page.wait_for_url("/")

    def pictures(self, path: str, content: str) -> list[bytes]:
        """Return a picture of the page for each width."""
        taken = []
        for width, height in WIDTHS.items():
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.goto(path)
            self.page.locator(content).first.wait_for()
            taken.append(self.page.screenshot())
        return taken


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
