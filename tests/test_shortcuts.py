"""What a view renders is one element more with each verb, and an answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.template import Template, TemplateDoesNotExist
from django.test import RequestFactory
from django.utils.safestring import mark_safe

from turbo.exceptions import ContentError, NoActionError, TargetError
from turbo.shortcuts import (
    TurboRender,
    TurboResponse,
    arender_frame,
    remove_frame,
    render_frame,
    render_frame_string,
)

CONTENT_VERBS = ["append", "prepend", "replace", "update", "before", "after"]


class RecordingStream:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def stream(self, frame: object) -> str:
        self.sent.append(str(frame))
        return "sent"


def test_render_frame_renders_as_a_view_does() -> None:
    request = RequestFactory().get("/rooms/")

    frame = render_frame(request, "testapp/hello.html", {"name": "<Ann>"})

    assert str(frame.append(id="x")) == (
        '<turbo-stream action="append" target="x">'
        "<template><p>&lt;Ann&gt;</p>\n</template></turbo-stream>"
    )


def test_render_frame_shows_the_request() -> None:
    request = RequestFactory().get("/rooms/")

    frame = render_frame(request, Template("{{ request.path }}"))

    assert str(frame.update(id="x")) == (
        '<turbo-stream action="update" target="x">'
        "<template>/rooms/</template></turbo-stream>"
    )


def test_render_frame_needs_no_request() -> None:
    frame = render_frame(None, "testapp/hello.html", {"name": "Ann"})

    assert str(frame.update(id="x")) == (
        '<turbo-stream action="update" target="x">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
    )


def test_render_frame_raises_for_a_template_that_is_not_there() -> None:
    with pytest.raises(TemplateDoesNotExist):
        render_frame(None, "testapp/none.html")


async def test_arender_frame() -> None:
    request = RequestFactory().get("/rooms/")

    frame = await arender_frame(request, "testapp/hello.html", {"name": "Ann"})

    assert str(frame.append(id="x")) == (
        '<turbo-stream action="append" target="x">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_each_verb_makes_an_element_of_the_content(verb: str) -> None:
    frame = render_frame_string("<b>")

    html = (
        f'<turbo-stream action="{verb}" target="x">'
        f"<template>&lt;b&gt;</template></turbo-stream>"
    )
    assert str(getattr(frame, verb)(id="x")) == html
    assert str(await getattr(frame, f"a{verb}")(id="x")) == html


def test_text_marked_safe_is_not_escaped() -> None:
    frame = render_frame_string(mark_safe("<b>bold</b>"))

    assert str(frame.update(id="x")) == (
        '<turbo-stream action="update" target="x">'
        "<template><b>bold</b></template></turbo-stream>"
    )


def test_a_selector_may_come_first() -> None:
    assert str(render_frame_string("x").update(".alert_box")) == (
        '<turbo-stream action="update" targets=".alert_box">'
        "<template>x</template></turbo-stream>"
    )


def test_method_and_attributes() -> None:
    frame = render_frame_string("x").replace(
        id="y", method="morph", attributes={"data-z": 1}
    )

    assert str(frame) == (
        '<turbo-stream action="replace" target="y" method="morph" data-z="1">'
        "<template>x</template></turbo-stream>"
    )


def test_custom_action() -> None:
    assert str(render_frame_string("Saved").action("notify", id="x")) == (
        '<turbo-stream action="notify" target="x">'
        "<template>Saved</template></turbo-stream>"
    )


def test_a_verb_leaves_the_frame_as_it_was() -> None:
    frame = render_frame_string("x")

    first = frame.append(id="a")
    second = frame.append(id="b")

    assert str(first) == (
        '<turbo-stream action="append" target="a"><template>x</template></turbo-stream>'
    )
    assert str(second) == (
        '<turbo-stream action="append" target="b"><template>x</template></turbo-stream>'
    )


def test_verbs_add_up() -> None:
    frame = render_frame_string("x").append(id="a").remove(id="b").refresh()

    assert str(frame) == (
        '<turbo-stream action="append" target="a">'
        "<template>x</template></turbo-stream>"
        '<turbo-stream action="remove" target="b"></turbo-stream>'
        '<turbo-stream action="refresh"></turbo-stream>'
    )


def test_an_empty_frame_takes_its_content_with_each_verb() -> None:
    frame = (
        TurboRender()
        .append("testapp/hello.html", {"name": "Ann"}, id="a")
        .update(text="2", selector=".count")
    )

    assert str(frame) == (
        '<turbo-stream action="append" target="a">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
        '<turbo-stream action="update" targets=".count">'
        "<template>2</template></turbo-stream>"
    )


@pytest.mark.parametrize("place", [{"selector": ".x"}, {"id": "x"}])
def test_remove_frame(place: dict[str, Any]) -> None:
    name, value = ("targets", ".x") if "selector" in place else ("target", "x")

    assert str(remove_frame(**place)) == (
        f'<turbo-stream action="remove" {name}="{value}"></turbo-stream>'
    )


def test_remove_frame_takes_its_selector_first() -> None:
    assert str(remove_frame("#reminders li")) == (
        '<turbo-stream action="remove" targets="#reminders li"></turbo-stream>'
    )


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ({"template": "a.html", "id": "x"}, "template"),
        ({"template": "a.html", "text": "x"}, "template and text"),
        ({"text": "x", "id": "x"}, "text"),
        ({"html": "x", "id": "x"}, "html"),
    ],
)
def test_a_frame_takes_no_content_besides_its_own(
    arguments: dict[str, Any], given: str
) -> None:
    with pytest.raises(ContentError) as caught:
        render_frame_string("x").append(**arguments)

    assert str(caught.value) == (
        f"'append' was given rendered content and {given}: pass only one of them."
    )


@pytest.mark.parametrize("place", [{}, {"id": "x", "selector": ".x"}])
def test_a_frame_needs_exactly_one_place(place: dict[str, Any]) -> None:
    with pytest.raises(TargetError):
        render_frame_string("x").append(**place)


@pytest.mark.parametrize("use", [str, TurboResponse, TurboRender.__html__])
def test_a_frame_without_action_is_refused(use: Any) -> None:
    with pytest.raises(NoActionError) as caught:
        use(render_frame_string("x"))

    assert str(caught.value) == (
        "This content has no action yet. Call a verb first: append(), replace(), "
        "update() and so on."
    )
    assert isinstance(caught.value, ValueError)


def test_repr_shows_what_is_there() -> None:
    assert repr(TurboRender()) == "<TurboRender ''>"
    assert repr(render_frame_string("x")) == "<TurboRender 'x'>"
    assert repr(remove_frame(id="x")) == (
        """<TurboRender '<turbo-stream action="remove" target="x"></turbo-stream>'>"""
    )


def test_a_frame_in_a_template_is_html() -> None:
    template = Template("{{ frame }}")

    html = render_frame(None, template, {"frame": remove_frame(id="x")})

    assert str(html.update(id="y")) == (
        '<turbo-stream action="update" target="y"><template>'
        '<turbo-stream action="remove" target="x"></turbo-stream>'
        "</template></turbo-stream>"
    )


def test_response() -> None:
    response = remove_frame(id="x").response

    assert response.status_code == 200
    assert response.headers["Content-Type"] == (
        "text/vnd.turbo-stream.html; charset=utf-8"
    )
    assert response.content.decode() == (
        '<turbo-stream action="remove" target="x"></turbo-stream>'
    )


def test_response_of_several_frames() -> None:
    response = TurboResponse(
        render_frame_string("Grüße").append(id="a"),
        mark_safe('<turbo-stream action="refresh"></turbo-stream>'),
        status=422,
        headers={"X-Test": "1"},
    )

    assert (response.status_code, response.headers["X-Test"]) == (422, "1")
    assert response.content.decode() == (
        '<turbo-stream action="append" target="a">'
        "<template>Grüße</template></turbo-stream>"
        '<turbo-stream action="refresh"></turbo-stream>'
    )


def test_response_without_frames_is_empty() -> None:
    assert TurboResponse().content == b""


def test_response_refuses_text_that_may_be_anything() -> None:
    with pytest.raises(TypeError) as caught:
        TurboResponse("<script>")

    assert str(caught.value) == (
        "'<script>' is neither a TurboRender nor marked safe, so it may hold anything. "
        "Render it with render_frame() or render_frame_string()."
    )


def test_stream_to_hands_the_frame_to_a_stream() -> None:
    stream = RecordingStream()

    answer = remove_frame(id="x").stream_to(stream)

    assert answer == "sent"
    assert stream.sent == ['<turbo-stream action="remove" target="x"></turbo-stream>']
