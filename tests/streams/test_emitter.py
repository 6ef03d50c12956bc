"""The funnel checks what fits together before it renders anything."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.template import Template
from django.test import RequestFactory
from django.utils.safestring import mark_safe

from tests.testapp.models import Room
from turbo.exceptions import ContentError
from turbo.runtime.context import request_scope
from turbo.streams.emitter import Content, Elements, Emitter, Place
from turbo.streams.html import Attributes


class Sender(Emitter[None]):
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.summaries: list[str | None] = []

    def _emit(self, elements: Elements) -> None:
        self.sent.append((elements, elements.targets))
        self.summaries.append(elements.summary)


def room() -> Room:
    room = Room(pk=1)
    room._state.adding = False
    return room


def test_content_names_what_was_passed() -> None:
    assert Content().given() == ()
    assert Content("t.html", {}, "", "").given() == ("template", "text", "html")


@pytest.mark.parametrize(
    ("content", "html"),
    [
        (Content(), None),
        (Content("testapp/hello.html", {"name": "&"}), "<p>&amp;</p>\n"),
        (Content(text="<b>"), "&lt;b&gt;"),
        (Content(text=mark_safe("<b>")), "<b>"),
        (Content(text=""), ""),
        (Content(html="<b>"), "<b>"),
        (Content(html=""), ""),
    ],
)
async def test_content_renders_alike_in_both_worlds(
    content: Content, html: str | None
) -> None:
    assert await content.arender() == html
    if content.template is None:
        assert content.render() == html


def test_content_renders_for_its_request() -> None:
    request = RequestFactory().get("/rooms/")

    html = Content(Template("{{ request.path }}"), request=request).render()

    assert html == "/rooms/"


@pytest.mark.django_db
async def test_content_renders_templates_where_they_may_query() -> None:
    def look() -> str:
        return f"{Room.objects.count()} {threading.get_ident()}"

    html = await Content(Template("{{ look }}"), {"look": look}).arender()

    assert html is not None
    rooms, thread = html.split()
    assert rooms == "0"
    assert int(thread) != threading.get_ident()


def test_place_names_its_target() -> None:
    assert Place(id="messages").target == "messages"
    assert Place(id=3).target == "3"
    assert Place(id=room()).target == "room_1"
    assert Place(selector=".x").target is None


def test_place_puts_the_method_before_other_attributes() -> None:
    attributes: Attributes = {"data-x": 1}
    place = Place(id="x", method="morph", attributes=attributes)

    assert place.element("replace", mark_safe("y")) == (
        '<turbo-stream action="replace" target="x" method="morph" data-x="1">'
        "<template>y</template></turbo-stream>"
    )
    assert attributes == {"data-x": 1}


def test_performing_hands_over_what_is_overwritten() -> None:
    sender = Sender()

    sender._perform("append", Content(text="a"), Place(id="x"))
    sender._perform("update", Content(text="b"), Place(id="x"))
    sender._perform("replace", Content(text="c"), Place(selector=".x"))

    assert [target for _, target in sender.sent] == [(), ("x",), (".x",)]
    assert sender.sent[0][0] == (
        '<turbo-stream action="append" target="x"><template>a</template></turbo-stream>'
    )


async def test_performing_in_a_coroutine_does_the_same() -> None:
    sender, other = Sender(), Sender()

    await sender._aperform("append", Content(text="a"), Place(id="x"))
    other._perform("append", Content(text="a"), Place(id="x"))

    assert sender.sent == other.sent


@pytest.mark.parametrize(
    ("action", "content", "message"),
    [
        (
            "append",
            Content(),
            "'append' needs content: pass a template, text= or html=.",
        ),
        (
            "replace",
            Content(context={"a": 1}),
            "'replace' needs content: pass a template, text= or html=.",
        ),
        (
            "notify",
            Content("t.html", {}, "x"),
            "'notify' was given template and text: pass only one of them.",
        ),
        (
            "update",
            Content("t.html", {}, "x", "y"),
            "'update' was given template and text and html: pass only one of them.",
        ),
        (
            "remove",
            Content(text="x"),
            "'remove' takes no content, but was given text.",
        ),
        (
            "refresh",
            Content(html=""),
            "'refresh' takes no content, but was given html.",
        ),
    ],
)
async def test_content_that_does_not_fit_is_refused(
    action: str, content: Content, message: str
) -> None:
    sender = Sender()

    with pytest.raises(ContentError) as caught:
        sender._perform(action, content, Place(id="x"))
    with pytest.raises(ContentError) as acaught:
        await sender._aperform(action, content, Place(id="x"))

    assert (str(caught.value), str(acaught.value)) == (message, message)
    assert isinstance(caught.value, TypeError)
    assert sender.sent == []


def test_a_custom_action_needs_no_content() -> None:
    sender = Sender()

    sender._perform("ring", Content(), Place())

    assert sender.sent == [('<turbo-stream action="ring"></turbo-stream>', ())]


def test_an_emitter_must_say_how_it_emits() -> None:
    emitter: Emitter[Any] = Emitter()

    with pytest.raises(NotImplementedError):
        emitter._perform("ring", Content(), Place())


def test_a_refresh_names_its_request_and_its_summary_does_not() -> None:
    sender = Sender()

    with request_scope("a1"):
        sender._refresh(method="morph", scroll=None, attributes={"data-x": 1})

    assert sender.sent == [
        (
            '<turbo-stream action="refresh" request-id="a1" method="morph" data-x="1">'
            "</turbo-stream>",
            (),
        )
    ]
    assert sender.summaries == [
        '<turbo-stream action="refresh" method="morph" data-x="1"></turbo-stream>'
    ]
