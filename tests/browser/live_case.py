"""A test case as a project writes one, with a live server; run in a project's place."""

from __future__ import annotations

import os
import sys
import unittest
from typing import Any

import django

django.setup()

from channels.testing import ChannelsLiveServerTestCase  # noqa: E402
from django.test.runner import DiscoverRunner  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402

import turbo  # noqa: E402
from tests.testapp.models import Board, Card  # noqa: E402
from turbo.testing import assert_broadcasts, wait_for_streams  # noqa: E402

# Playwright runs an event loop in this thread.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


class BoardTests(ChannelsLiveServerTestCase):
    host = "127.0.0.1"

    def test_what_is_saved_here_appears_there(self) -> None:
        board = Board.objects.create(name="Work")
        with sync_playwright() as playwright:
            browser: Any = playwright.chromium.launch(
                executable_path=sys.argv[1], args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.goto(f"{self.live_server_url}/boards/{board.pk}/")
            wait_for_streams(page, timeout=60)

            Card.objects.create(board=board, title="Rake")
            with assert_broadcasts(board, action="append", deliver=True):
                Card.objects.create(board=board, title="Hoe")
            turbo.flush(timeout=60)

            expect(page.locator("#cards li")).to_have_text(
                ["Rake", "Hoe"], timeout=60_000
            )
            browser.close()


if __name__ == "__main__":
    runner = DiscoverRunner(interactive=False, verbosity=0)
    runner.setup_test_environment()
    runner.setup_databases()
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(BoardTests)
    sys.exit(not unittest.TextTestRunner().run(tests).wasSuccessful())
