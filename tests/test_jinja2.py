"""A page of Jinja2 is the same as one of Django's templates, tag by tag."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jinja2
import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.template import TemplateDoesNotExist, TemplateSyntaxError, engines
from django.template.loader import render_to_string
from django.test import RequestFactory, override_settings

import turbo
from tests import settings as project
from tests.support.servers import PATIENCE, ROOT
from tests.testapp.models import Message, Room
from tests.testapp.streams import Cafe, Lounge, RoomStream
from turbo.components import BroadcastComponent, UserBroadcastComponent
from turbo.delivery.broadcast import shut_down
from turbo.exceptions import ConfigurationError
from turbo.jinja2 import TurboExtension
from turbo.jinja2.extension import FUNCTIONS
from turbo.templatetags.turbo_streams import register

JINJA2 = {
    "BACKEND": "django.template.backends.jinja2.Jinja2",
    "APP_DIRS": True,
    "OPTIONS": {"extensions": ["turbo.jinja2.TurboExtension"]},
}


@pytest.fixture(autouse=True, params=["before Django", "after Django", "alone"])
def _engines(request: pytest.FixtureRequest) -> Any:
    """The order in which templates are looked for, and Jinja2 without Django's."""
    found = {
        "before Django": [JINJA2, *project.TEMPLATES],
        "after Django": [*project.TEMPLATES, JINJA2],
        "alone": [JINJA2],
    }[request.param]
    with override_settings(TEMPLATES=found):
        yield


@pytest.fixture
def _no_publisher() -> Iterator[None]:
    yield
    shut_down(PATIENCE)


class Leaflet(BroadcastComponent):
    template_name = "testapp/banner.html"

    def get_context(self) -> dict[str, Any]:
        return {"text": "<Back at noon>"}


class Cart(UserBroadcastComponent):
    template_name = "testapp/jinja_basket.html"


@pytest.fixture
def request_() -> HttpRequest:
    request = RequestFactory().get("/rooms/")
    request.user = User(pk=3, username="ann")
    return request


def by_django(source: str, values: dict[str, Any], request: HttpRequest | None) -> str:
    with override_settings(TEMPLATES=project.TEMPLATES):
        template = engines["django"].from_string("{% load turbo_streams %}" + source)
        return str(template.render(dict(values), request))


def by_jinja2(
    source: str, values: dict[str, Any], request: HttpRequest | None = None
) -> str:
    return str(engines["jinja2"].from_string(source).render(dict(values), request))


def room() -> Room:
    room = Room(pk=1, name="Attic")
    room._state.adding = False
    return room


PAIRS = {
    "turbo_subscribe": (
        '{% turbo_subscribe room "testapp:RoomStream:2" %}',
        '{{ turbo_subscribe(room, "testapp:RoomStream:2") }}',
    ),
    "turbo_subscribe, as events": (
        '{% turbo_subscribe room transport="sse" %}',
        '{{ turbo_subscribe(room, transport="sse") }}',
    ),
    "turbo_subscribe, in a loop": (
        "{% for it in rooms %}{% turbo_subscribe it %}{% endfor %}",
        "{% for it in rooms %}{{ turbo_subscribe(it) }}{% endfor %}",
    ),
    "turbo_frame": (
        '{% turbo_frame room "edit" src="/a?b=1&c" loading="lazy" disabled=True '
        "data_by=text %}<p>{{ text }}</p>{% endturbo_frame %}",
        '{% call turbo_frame(room, "edit", src="/a?b=1&c", loading="lazy", '
        "disabled=True, data_by=text) %}<p>{{ text }}</p>{% endcall %}",
    ),
    "turbo_frame, empty": (
        '{% turbo_frame "tray" src=nothing %}{% endturbo_frame %}',
        '{{ turbo_frame("tray", src=nothing) }}',
    ),
    "turbo_stream": (
        '{% turbo_stream "append" room %}<p>{{ text }}</p>{% endturbo_stream %}'
        '{% turbo_stream "remove" selector=".a > b" %}{% endturbo_stream %}',
        '{% call turbo_stream("append", room) %}<p>{{ text }}</p>{% endcall %}'
        '{{ turbo_stream("remove", selector=".a > b") }}',
    ),
    "dom_id": (
        '<li id="{% dom_id room "edit" %}">{% dom_id room as id %}{{ id }}',
        '<li id="{{ dom_id(room, "edit") }}">{% set id = dom_id(room) %}{{ id }}',
    ),
    "the tags of <head>": (
        '{% turbo_refreshes_with method="morph" scroll="preserve" %}'
        '{% turbo_cache_control "no-preview" %}{% turbo_exempts_page_from_cache %}'
        "{% turbo_exempts_page_from_preview %}{% turbo_page_requires_reload %}"
        "{% turbo_disable_prefetch %}{% turbo_channels_url %}"
        '{% turbo_static "observers.js" %}',
        '{{ turbo_refreshes_with(method="morph", scroll="preserve") }}'
        '{{ turbo_cache_control("no-preview") }}{{ turbo_exempts_page_from_cache() }}'
        "{{ turbo_exempts_page_from_preview() }}{{ turbo_page_requires_reload() }}"
        "{{ turbo_disable_prefetch() }}{{ turbo_channels_url() }}"
        '{{ turbo_static("observers.js") }}',
    ),
    "turbo_subscribe, with whispers": (
        "{% turbo_subscribe cafe %}",
        "{{ turbo_subscribe(cafe) }}",
    ),
    "turbo_text": (
        '{% turbo_text room "answer" tag="pre" class="b" %}',
        '{{ turbo_text(room, "answer", tag="pre", **{"class": "b"}) }}',
    ),
    "turbo_progress": (
        '{% turbo_progress room "import" label=text %}',
        '{{ turbo_progress(room, "import", label=text) }}',
    ),
    "turbo_present": (
        "{% turbo_present lounge as people %}{{ people|length }}",
        "{% set people = turbo_present(lounge) %}{{ people|length }}",
    ),
    "turbo/head.html": (
        '{% include "turbo/head.html" %}',
        '{% include "turbo/head.html" %}',
    ),
    "turbo/head.html, without app directories": (
        '{% include "turbo/head.html" %}',
        "{{ turbo_head() }}",
    ),
    "turbo/status.html": (
        '{% include "turbo/status.html" %}',
        '{% include "turbo/status.html" %}',
    ),
    "content in capitals": (
        '{% filter upper %}{% turbo_frame "a" %}{{ text }}{% endturbo_frame %}'
        "{% endfilter %}",
        '{% filter upper %}{% call turbo_frame("a") %}{{ text }}{% endcall %}'
        "{% endfilter %}",
    ),
}


@pytest.mark.usefixtures("stamp", "_no_publisher")
@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
@pytest.mark.parametrize("with_request", [True, False])
def test_a_page_is_the_same(
    pair: tuple[str, str], with_request: bool, request_: HttpRequest
) -> None:
    request = request_ if with_request else None
    values = {
        "room": room(),
        "rooms": [room()],
        "cafe": Cafe(1),
        "lounge": Lounge(1),
        "text": "<i> & more",  # of quotation marks, both make something different
        "csp_nonce": "r4nd0m",
    }

    expected = by_django(pair[0], values, request)

    assert by_jinja2(pair[1], values, request) == expected
    assert expected.strip()


@pytest.mark.usefixtures("stamp")
def test_a_component_is_the_same(
    request: pytest.FixtureRequest, request_: HttpRequest
) -> None:
    """Its own template, which is Django's, gets the variables of the page."""
    if request.node.callspec.params["_engines"] == "alone":
        pytest.skip("its template is one of Django's")
    values = {"more": 1}

    expected = by_django('{% turbo_component "tests:Leaflet" %}', values, request_)

    source = '{{ turbo_component("tests:Leaflet") }}'
    assert by_jinja2(source, values, request_) == expected
    assert "&lt;Back at noon&gt;" in expected


@pytest.mark.usefixtures("stamp")
def test_the_template_of_a_component_may_be_one_of_jinja2(
    request_: HttpRequest, sent: list[tuple[str, str]]
) -> None:
    """On a page, it also gets the variables of the page."""
    html = by_jinja2(
        "{% set n = 2 %}{{ turbo_component('tests:Cart', user) }}",
        {"user": request_.user, "text": "&"},
        request_,
    )
    Cart(request_.user).render(text="&", n=3)

    assert Cart(3).sign(request_.user) in html
    assert "<b>2 &amp; of ann</b></div>" in html
    assert "<b>3 &amp;</b></template>" in sent[0][1]


@pytest.mark.usefixtures("stamp")
def test_the_name_is_bound_to_the_user_of_the_request(request_: HttpRequest) -> None:
    html = by_jinja2("{{ turbo_subscribe(room) }}", {"room": room()}, request_)

    assert RoomStream(1).sign(request_.user) in html
    assert request_._cache_update_cache is False  # type: ignore[attr-defined]


def test_a_script_has_the_nonce_of_the_request(request_: HttpRequest) -> None:
    """Django's context processors have not been here."""
    request_.csp_nonce = "n2"  # type: ignore[attr-defined]

    html = by_jinja2("{{ turbo_subscribe(cafe) }}", {"cafe": Cafe(1)}, request_)

    assert html.endswith(' nonce="n2"></script>')


def test_a_verb_takes_a_template_of_jinja2(sent: list[tuple[str, str]]) -> None:
    message = Message(pk=4, room=room(), text="<Hello>")
    message._state.adding = False

    room().stream.append(
        "testapp/jinja_message.html", {"message": message}, id="messages"
    )

    assert sent == [
        (
            "testapp:RoomStream:1",
            '<turbo-stream action="append" target="messages"><template>'
            '<li id="message_4">&lt;Hello&gt;</li></template></turbo-stream>',
        )
    ]


def test_a_frame_of_a_request_takes_a_template_of_jinja2(
    request_: HttpRequest,
) -> None:
    message = Message(pk=4, room=room(), text="<Hello>")

    frame = turbo.render_frame(
        request_, "testapp/jinja_message.html", {"message": message}
    )

    assert "&lt;Hello&gt;" in str(frame.update(id="a"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ turbo_subscribe(romm) }}", "turbo_subscribe: 'romm' is undefined."),
        ("{{ turbo_component(banner) }}", "turbo_component: 'banner' is undefined."),
        ("{{ dom_id(romm.x) }}", "'romm' is undefined"),
        ("{{ dom_id(romm) }}", "dom_id: 'romm' is undefined."),
        ("{% call turbo_frame(it) %}{% endcall %}", "turbo_frame: 'it' is undefined."),
    ],
)
def test_an_undefined_variable_is_named(source: str, problem: str) -> None:
    with pytest.raises(jinja2.UndefinedError) as caught:
        by_jinja2(source, {})

    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ turbo_subscribe() }}", "turbo_subscribe needs at least one stream."),
        ("{{ turbo_subscribe('tests:None') }}", "turbo_subscribe: "),
        ("{{ turbo_component(1) }}", "turbo_component: 1 is not a component."),
        ("{{ turbo_cache_control('a') }}", "content='a' is not one of"),
    ],
)
def test_a_mistake_has_the_error_of_the_tag(source: str, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        by_jinja2(source, {})

    assert str(caught.value).startswith(problem)


def test_without_autoescape_content_is_as_it_is_written() -> None:
    environment = jinja2.Environment(extensions=[TurboExtension])
    source = "{% call turbo_frame('a') %}{{ text }}{% endcall %}"

    html = environment.from_string(source).render(text="<b>")

    assert html == '<turbo-frame id="a"><b></turbo-frame>'


def test_an_environment_that_is_async_is_refused() -> None:
    """Its content is a coroutine, which the page would show."""
    environment = jinja2.Environment(extensions=[TurboExtension], enable_async=True)
    template = environment.from_string("{% call turbo_frame('a') %}x{% endcall %}")

    with pytest.raises(ConfigurationError, match="enable_async, which"):
        template.render()


def test_every_tag_has_its_function() -> None:
    """A new tag gets its line in ``turbo/jinja2/extension.py``."""
    assert {*register.tags} == {*FUNCTIONS} - {"turbo_head", "turbo_status"}


def test_a_template_that_is_missing_is_named() -> None:
    with pytest.raises(TemplateDoesNotExist, match=r"nowhere\.html"):
        render_to_string("testapp/nowhere.html")


def test_a_project_without_jinja2_does_not_load_it() -> None:
    code = (
        "import sys, django; django.setup(); from turbo.asgi import get_application;"
        "get_application(); print([n for n in sys.modules if 'jinja2' in n])"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "/usr/bin"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )

    assert done.stdout == "[]\n", done.stderr
