"""The nonces of a Content-Security-Policy, as the how-to guide sets them up."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import django
import pytest
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client
from django.urls import path

from tests.support.documents import DOCS, Block, blocks

SECTIONS = [
    pytest.param(
        "With Django 6",
        marks=pytest.mark.skipif(django.VERSION < (6, 0), reason="needs Django 6"),
    ),
    "With django-csp",
]


def section(title: str) -> tuple[Block, Block]:
    """Return the settings and the template of a section of the guide."""
    page = DOCS / "howto" / "csp.rst"
    lines = page.read_text().splitlines()
    after = [b for b in blocks(page) if b.line > lines.index(title)]
    return (
        next(b for b in after if b.language == "python"),
        next(b for b in after if b.language == "html+django"),
    )


@pytest.mark.parametrize("title", SECTIONS)
def test_the_nonce_of_the_policy_is_on_what_needs_it(
    title: str, settings: Any, client: Client
) -> None:
    configured, template = section(title)
    names: dict[str, Any] = {}
    exec(configured.code, names)
    for name in filter(str.isupper, names.keys() - {"NONCE", "NONE", "SELF", "CSP"}):
        setattr(settings, name, names[name])
    settings.ROOT_URLCONF = urls = ModuleType("urls")
    urls.urlpatterns = [path("", view(template))]  # type: ignore[attr-defined]

    first, second = client.get("/"), client.get("/")

    for response in (first, second):
        policy = response.headers["Content-Security-Policy"]
        directives = dict(part.split(maxsplit=1) for part in policy.split("; "))
        [nonce] = set(re.findall(r' nonce="([^"]+)"', response.text))
        assert response.text.count(f' nonce="{nonce}"') == 2
        assert f'<meta name="csp-nonce" content="{nonce}">' in response.text
        for directive in ("script-src", "style-src"):
            assert directives[directive] == f"'self' 'nonce-{nonce}'"
    assert first.text != second.text


def view(template: Block) -> Callable[[HttpRequest], HttpResponse]:
    def respond(request: HttpRequest) -> HttpResponse:
        page = engines["django"].from_string(template.code)
        return HttpResponse(page.render({}, request))

    return respond
