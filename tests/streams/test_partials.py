"""A partial of a template may be named wherever a template is."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.template import TemplateDoesNotExist
from django.test import RequestFactory, override_settings

import turbo
from tests.testapp.models import Card, Room
from turbo.checks.streams import check_streams
from turbo.components import BroadcastComponent
from turbo.streams.rendering import load, render

ARE_BUILT_IN = django.VERSION >= (6, 0)
#: What Django 5.2 needs.
PACKAGE = importlib.util.find_spec("template_partials")

needs_partials = pytest.mark.skipif(
    not ARE_BUILT_IN and PACKAGE is None, reason="nothing here knows partials"
)
PAGE = """{% load turbo_streams %}<ul id="cards">
{% partialdef row inline %}<li id="{% dom_id it %}">{{ it }} {{ request.path }}</li>\
{% endpartialdef %}
</ul>{% partialdef live %}{% turbo_subscribe it %}{% endpartialdef %}"""
ROW = '<li id="room_1">&lt;Attic&gt; </li>'


def room() -> Room:
    room = Room(pk=1, name="<Attic>")
    room._state.adding = False
    return room


@pytest.fixture(autouse=True)
def _page(tmp_path: Path) -> Iterator[None]:
    """Make ``page.html``, and let the engine know partials if Django does not."""
    (tmp_path / "page.html").write_text(PAGE)
    loaders: list[Any] = ["django.template.loaders.filesystem.Loader"]
    loaders += ["django.template.loaders.app_directories.Loader"]
    options: dict[str, Any] = {"loaders": loaders}
    if not ARE_BUILT_IN and PACKAGE is not None:
        options = {
            "loaders": [("template_partials.loader.Loader", loaders)],
            "builtins": ["template_partials.templatetags.partials"],
        }
    options["context_processors"] = ["django.template.context_processors.request"]
    djangos = "django.template.backends.django.DjangoTemplates"
    engine = {"BACKEND": djangos, "DIRS": [tmp_path], "OPTIONS": options}
    with override_settings(TEMPLATES=[engine]):
        yield


class Rows(turbo.Stream):
    pass


class Row(BroadcastComponent):
    template_name = "page.html#row"


@needs_partials
def test_a_verb_sends_a_partial(sent: list[tuple[str, str]]) -> None:
    Rows().append("page.html#row", {"it": room()}, id="cards")

    assert [data for _, data in sent] == [
        f'<turbo-stream action="append" target="cards"><template>{ROW}</template>'
        f"</turbo-stream>"
    ]


@needs_partials
async def test_a_verb_of_async_code_sends_one(sent: list[tuple[str, str]]) -> None:
    await Rows().aappend("page.html#row", {"it": room()}, id="cards")

    assert ROW in sent[0][1]


@needs_partials
def test_a_partial_has_the_request_and_subscribes() -> None:
    request = RequestFactory().get("/rooms/")

    row = render("page.html#row", {"it": room()}, request=request)
    live = render("page.html#live", {"it": room()}, request=request)

    assert row == '<li id="room_1">&lt;Attic&gt; /rooms/</li>'
    assert live.startswith("<turbo-channels-stream-source ")


@needs_partials
def test_the_first_one_that_exists_counts() -> None:
    names = ["page.html#none", "none.html#row", "page.html#row"]

    assert render(names, {"it": room()}) == ROW


@needs_partials
def test_a_component_is_a_partial(sent: list[tuple[str, str]]) -> None:
    Row().render(it=room())

    assert Row().initial_render({"it": room()}) == ROW
    assert ROW in sent[0][1]


@needs_partials
def test_a_frame_of_a_request_is_a_partial() -> None:
    request = RequestFactory().get("/rooms/")

    frame = turbo.render_frame(request, "page.html#row", {"it": room()})

    assert "&lt;Attic&gt; /rooms/" in str(frame.append(id="cards"))


@needs_partials
@pytest.mark.usefixtures("declaring")
@pytest.mark.parametrize(("name", "found"), [("row", []), ("cell", ["turbo.E013"])])
def test_a_convention_sends_a_partial(name: str, found: list[str]) -> None:
    """Its check says what does not exist."""

    class Cards(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "partial_stream"
            broadcasts_to = "board"
            template = f"page.html#{name}"

    messages = [message for message in check_streams() if message.obj is Cards]

    assert [message.id for message in messages] == found
    assert all("there is no partial 'cell' in page.html" in m.msg for m in messages)


@needs_partials
def test_a_partial_that_is_missing_is_named() -> None:
    with pytest.raises(TemplateDoesNotExist) as caught:
        load("page.html#cell")

    assert str(caught.value) == (
        "page.html#cell: there is no partial 'cell' in page.html. Write "
        "{% partialdef cell %} there; Jinja2 has no partials."
    )


@pytest.mark.parametrize("name", ["none.html#row", "none.html", ["none.html#row"]])
def test_a_template_that_is_missing_is_named(name: Any) -> None:
    with pytest.raises(TemplateDoesNotExist) as caught:
        load(name)

    assert "no partial" not in str(caught.value)


@pytest.mark.skipif(ARE_BUILT_IN, reason="Django knows partials")
def test_a_django_without_partials_says_what_to_do() -> None:
    """The page itself needs none here."""
    djangos = "django.template.backends.django.DjangoTemplates"
    engine = {"BACKEND": djangos, "APP_DIRS": True}

    with (
        override_settings(TEMPLATES=[engine]),
        pytest.raises(TemplateDoesNotExist) as caught,
    ):
        load("testapp/hello.html#row")

    if PACKAGE is None:
        assert str(caught.value) == (
            f"testapp/hello.html#row: Django {django.get_version()} has no partials. "
            f"Use Django 6.0 or later, or install django-template-partials and add "
            f"'template_partials' to INSTALLED_APPS."
        )
    assert str(caught.value).startswith("testapp/hello.html#row: ")
