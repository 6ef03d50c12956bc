"""The panel of django-debug-toolbar, in a site that has the toolbar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.servers import PATIENCE, ROOT

ELEMENT = (
    "&lt;turbo-stream action=&quot;append&quot; target=&quot;list&quot;&gt;"
    "&lt;template&gt;&amp;lt;{}&amp;gt;&lt;/template&gt;&lt;/turbo-stream&gt;"
)


def run(*arguments: str) -> str:
    """Return what another Python process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    """What the toolbar says to a request with two broadcasts, and to one with one."""
    said: list[dict[str, Any]] = json.loads(
        run("-m", "tests.inspector.toolbar_site", "2", "1")
    )
    return said


def test_side_bar_counts_the_broadcasts_of_the_request(
    answers: list[dict[str, Any]],
) -> None:
    two, one = (answer["page"] for answer in answers)

    assert "Turbo Streams" in two
    assert "<small>2 broadcasts</small>" in two
    assert "<small>1 broadcast</small>" in one


def test_panel_shows_their_html_as_text(answers: list[dict[str, Any]]) -> None:
    own = answers[0]["panel"].partition("<section")[0]

    assert own.count("<code>testapp:Announcements</code>") == 2
    assert own.index(ELEMENT.format(0)) < own.index(ELEMENT.format(1))


def test_panel_shows_the_whole_process_below(answers: list[dict[str, Any]]) -> None:
    own, _, process = answers[1]["panel"].partition("<section")

    assert own.count("<code>testapp:Announcements</code>") == 1
    assert process.count("Sent to testapp:Announcements") == 3
    assert "<td>testapp.Room</td>" in process


def test_the_app_needs_no_toolbar() -> None:
    code = "import django, sys; django.setup(); print('debug_toolbar' in sys.modules)"

    assert run("-c", code).strip() == "False"
