"""A broadcast is rendered alike whoever caused it."""

from __future__ import annotations

from collections import ChainMap
from datetime import UTC, datetime
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import Context, Template, TemplateDoesNotExist
from django.template.loader import get_template
from django.test import RequestFactory, override_settings
from django.utils import timezone, translation
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from turbo.streams.rendering import render, render_text

LOCALE = Template("{% load i18n %}{% get_current_language as l %}{{ l }} {{ now }}")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def request_() -> HttpRequest:
    return RequestFactory().get("/rooms/")


def test_render_a_template_by_name() -> None:
    html = render("testapp/hello.html", {"name": "<Ann>"})

    assert html == "<p>&lt;Ann&gt;</p>\n"
    assert isinstance(html, SafeString)


@pytest.mark.parametrize("kind", [list, tuple])
def test_render_the_first_template_that_exists(kind: Any) -> None:
    html = render(kind(["testapp/none.html", "testapp/hello.html"]), {"name": "Ann"})

    assert html == "<p>Ann</p>\n"


def test_render_a_loaded_template() -> None:
    assert render(get_template("testapp/hello.html"), {"name": "Ann"}) == "<p>Ann</p>\n"


def test_render_a_template_made_from_a_string() -> None:
    assert render(Template("<b>{{ name }}</b>"), {"name": "&"}) == "<b>&amp;</b>"


def test_render_without_context() -> None:
    assert render("testapp/hello.html") == "<p></p>\n"


def test_render_takes_any_mapping_and_leaves_it_alone() -> None:
    context = ChainMap({}, {"name": "Ann"})

    assert render("testapp/hello.html", context) == "<p>Ann</p>\n"
    assert context == ChainMap({}, {"name": "Ann"})


@pytest.mark.parametrize("template", ["testapp/hello.html", Template("{{ name }}")])
def test_render_refuses_what_is_no_mapping(template: Any) -> None:
    with pytest.raises(TypeError) as caught:
        render(template, Context({"name": "Ann"}))

    assert str(caught.value) == (
        "A context is a dict of variables, not 'Context'. Call flatten() to turn a "
        "template's Context into a dict."
    )


@pytest.mark.parametrize("name", ["testapp/none.html", ["testapp/none.html"]])
def test_render_raises_for_a_template_that_is_not_there(name: Any) -> None:
    with pytest.raises(TemplateDoesNotExist, match=r"testapp/none\.html"):
        render(name)


def test_render_raises_what_the_template_raises() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        render(Template("{{ fail }}"), {"fail": fail})


@pytest.mark.parametrize("template", ["name", "string"])
def test_render_shows_the_request(template: str, request_: HttpRequest) -> None:
    html = render(Template("{{ request.path }}"), request=request_)

    assert html == "/rooms/"


@override_settings(LANGUAGE_CODE="en", TIME_ZONE="Europe/Vienna")
def test_render_uses_the_language_and_time_zone_of_the_site() -> None:
    with translation.override("de"), timezone.override("America/New_York"):
        html = render(LOCALE, {"now": NOON})

        assert translation.get_language() == "de"
        assert timezone.get_current_timezone_name() == "America/New_York"
    assert html == "en Jan. 1, 2026, 1 p.m."


def test_render_for_a_request_uses_what_is_active(request_: HttpRequest) -> None:
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        html = render(LOCALE, {"now": NOON}, request=request_)

    assert html == "de 1. Januar 2026 21:00"


def test_render_leaves_the_language_as_it_was_after_an_error() -> None:
    with translation.override("de"):
        with pytest.raises(TemplateDoesNotExist):
            render("testapp/none.html")

        assert translation.get_language() == "de"


def test_text_is_escaped() -> None:
    html = render_text("<script>")

    assert html == "&lt;script&gt;"
    assert isinstance(html, SafeString)


def test_text_marked_safe_is_not_escaped() -> None:
    assert render_text(mark_safe("<b>bold</b>")) == "<b>bold</b>"


def test_text_may_be_any_value() -> None:
    assert render_text(3) == "3"


def test_text_to_translate_is_in_the_language_of_the_site(
    request_: HttpRequest,
) -> None:
    with translation.override("de"):
        assert render_text(gettext_lazy("Yes")) == "Yes"
        assert render_text(gettext_lazy("Yes"), request=request_) == "Ja"


def test_a_template_that_goes_elsewhere_leaves_its_caller_where_it_was() -> None:
    """In the site's own language and zone, where nothing has to be put in place."""

    def leave() -> str:
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        return "left"

    before = translation.get_language(), timezone.get_current_timezone_name()

    assert render(Template("{{ leave }}"), {"leave": leave}) == "left"
    assert (translation.get_language(), timezone.get_current_timezone_name()) == before
