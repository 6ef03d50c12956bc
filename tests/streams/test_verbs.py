"""Each verb, sync and async, is the element of its name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from django.template import TemplateDoesNotExist
from django.test import RequestFactory
from django.utils.safestring import mark_safe

from turbo.exceptions import ActionError, TargetError
from turbo.runtime.context import request_scope
from turbo.streams.emitter import Elements
from turbo.streams.verbs import Verbs

CONTENT_VERBS = ["append", "prepend", "replace", "update", "before", "after"]
ALL_VERBS = [*CONTENT_VERBS, "remove", "refresh", "action"]


class Recorder(Verbs[str]):
    """Answers every verb with its element."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, ...]] = []
        self.summaries: list[str | None] = []

    def _emit(self, elements: Elements) -> str:
        self.targets.append(elements.targets)
        self.summaries.append(elements.summary)
        return elements


async def call(verb: str, *args: Any, **kwargs: Any) -> str:
    """Call a verb and its twin, which must answer alike."""
    recorder = Recorder()
    answer: str = getattr(recorder, verb)(*args, **kwargs)
    assert await getattr(recorder, f"a{verb}")(*args, **kwargs) == answer
    return answer


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_verb_with_text(verb: str) -> None:
    html = await call(verb, text="<b>Hello</b>", id="messages")

    assert html == (
        f'<turbo-stream action="{verb}" target="messages">'
        f"<template>&lt;b&gt;Hello&lt;/b&gt;</template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_verb_with_safe_text(verb: str) -> None:
    html = await call(verb, text=mark_safe("<b>Hello</b>"), selector=".message")

    assert html == (
        f'<turbo-stream action="{verb}" targets=".message">'
        f"<template><b>Hello</b></template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_verb_with_trusted_html(verb: str) -> None:
    html = await call(verb, html="<b>Hello</b>", id="messages")

    assert html == (
        f'<turbo-stream action="{verb}" target="messages">'
        f"<template><b>Hello</b></template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
def test_verb_with_a_template(verb: str) -> None:
    html = getattr(Recorder(), verb)("testapp/hello.html", {"name": "Ann"}, id="x")

    assert html == (
        f'<turbo-stream action="{verb}" target="x">'
        f"<template><p>Ann</p>\n</template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_twin_with_a_template(verb: str) -> None:
    twin = getattr(Recorder(), f"a{verb}")

    assert await twin("testapp/hello.html", {"name": "Ann"}, id="x") == (
        f'<turbo-stream action="{verb}" target="x">'
        f"<template><p>Ann</p>\n</template></turbo-stream>"
    )


@pytest.mark.parametrize("verb", CONTENT_VERBS)
async def test_verb_with_method_and_attributes(verb: str) -> None:
    html = await call(
        verb, text="x", id="y", method="morph", attributes={"data-by": '"'}
    )

    assert html == (
        f'<turbo-stream action="{verb}" target="y" method="morph" data-by="&quot;">'
        f"<template>x</template></turbo-stream>"
    )


def test_verb_renders_for_its_request() -> None:
    request = RequestFactory().get("/")
    request.user = "Ann"  # what the context processor of auth shows

    html = Recorder().append(
        "testapp/hello.html", {"name": request.user}, id="x", request=request
    )

    assert html == (
        '<turbo-stream action="append" target="x">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
    )


async def test_remove() -> None:
    assert await call("remove", id="message-1") == (
        '<turbo-stream action="remove" target="message-1"></turbo-stream>'
    )


async def test_remove_takes_its_selector_first() -> None:
    assert await call("remove", ".old", attributes={"data-why": "old"}) == (
        '<turbo-stream action="remove" targets=".old" data-why="old"></turbo-stream>'
    )


async def test_refresh() -> None:
    assert await call("refresh") == '<turbo-stream action="refresh"></turbo-stream>'


async def test_refresh_says_how() -> None:
    html = await call(
        "refresh", method="morph", scroll="preserve", attributes={"data-x": "y"}
    )

    assert html == (
        '<turbo-stream action="refresh" method="morph" scroll="preserve" data-x="y">'
        "</turbo-stream>"
    )


async def test_refresh_names_the_request_that_causes_it() -> None:
    recorder = Recorder()

    with request_scope("3f-a1"):
        html = recorder.refresh(method="morph")
        twin = await recorder.arefresh(method="morph")

    assert (
        html
        == twin
        == (
            '<turbo-stream action="refresh" request-id="3f-a1" method="morph">'
            "</turbo-stream>"
        )
    )
    assert (
        recorder.summaries
        == ['<turbo-stream action="refresh" method="morph"></turbo-stream>'] * 2
    )


async def test_action_of_your_own() -> None:
    html = await call("action", "notify", text="Saved", attributes={"level": "info"})

    assert html == (
        '<turbo-stream action="notify" level="info">'
        "<template>Saved</template></turbo-stream>"
    )


async def test_action_without_content() -> None:
    assert await call("action", "highlight", id="message-1") == (
        '<turbo-stream action="highlight" target="message-1"></turbo-stream>'
    )


async def test_action_with_a_template() -> None:
    html = await Recorder().aaction("notify", "testapp/hello.html", {"name": "Ann"})

    assert html == (
        '<turbo-stream action="notify"><template><p>Ann</p>\n</template></turbo-stream>'
    )


async def test_action_with_a_hostile_name() -> None:
    with pytest.raises(ActionError):
        await call("action", 'x"><script>', text="x")


@pytest.mark.parametrize("verb", [*CONTENT_VERBS, "remove"])
async def test_verb_needs_exactly_one_place(verb: str) -> None:
    content = {} if verb == "remove" else {"text": "x"}
    method = getattr(Recorder(), verb)
    twin = getattr(Recorder(), f"a{verb}")

    with pytest.raises(TargetError, match="needs a target"):
        method(**content)
    with pytest.raises(TargetError, match="was given id and selector"):
        await twin(**content, id="x", selector=".x")


async def test_a_template_that_is_not_there_reaches_the_caller() -> None:
    with pytest.raises(TemplateDoesNotExist):
        Recorder().append("testapp/none.html", id="x")
    with pytest.raises(TemplateDoesNotExist):
        await Recorder().aappend("testapp/none.html", id="x")


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_twins_have_one_signature(verb: str) -> None:
    twin = getattr(Verbs, f"a{verb}")

    assert inspect.signature(twin) == inspect.signature(getattr(Verbs, verb))
    assert inspect.iscoroutinefunction(twin)
    assert twin.__doc__ == f"Async version of {verb}()."
