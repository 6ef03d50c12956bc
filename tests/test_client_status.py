"""``{% include "turbo/status.html" %}``: the badge with the state of the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import trans_real

from turbo.apps import __file__ as app

MODULE = Path(app).parent / "static" / "turbo" / "status.js"


def states() -> list[str]:
    """Return the states that the element knows, except the one that shows nothing."""
    [found] = re.findall(r"(?s)const STATES = \[(.+?)\]", MODULE.read_text())
    return [state for state in re.findall(r'"(\w+)"', found) if state != "idle"]


def texts(html: str) -> dict[str, str]:
    return dict(re.findall(r'(?m)^  (\w+)="(.+)"$', html))


def test_every_state_has_a_text() -> None:
    assert list(texts(render_to_string("turbo/status.html"))) == states()


def test_texts_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    german: Any = trans_real.translation("de")
    [catalog, *_] = german._catalog._catalogs
    monkeypatch.setitem(catalog, "connection\x04Live", "Aktuell")

    with translation.override("de"):
        html = render_to_string("turbo/status.html")

    assert texts(html)["connected"] == "Aktuell"


@pytest.mark.parametrize(
    ("context", "nonce"),
    [({}, ""), ({"csp_nonce": None}, ""), ({"csp_nonce": "r4nd"}, ' nonce="r4nd"')],
)
def test_script_has_the_nonce_of_the_policy(
    context: dict[str, Any], nonce: str
) -> None:
    html = render_to_string("turbo/status.html", context)

    first = (
        f'<script type="module" src="/static/turbo/status.min.js"{nonce}></script>\n'
    )
    assert html.startswith(first)
