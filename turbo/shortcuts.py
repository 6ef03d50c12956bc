"""Shortcuts for views: :class:`TurboRender`, :class:`TurboResponse` and functions."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Protocol, TypeVar, runtime_checkable

from django.http import HttpRequest, HttpResponse

from turbo.exceptions import ContentError, NoActionError
from turbo.streams.emitter import Content, Elements, Place
from turbo.streams.html import CONTENTLESS
from turbo.streams.rendering import Template, render, render_text
from turbo.streams.verbs import Verbs

__all__ = [
    "STREAM_CONTENT_TYPE",
    "SafeHtml",
    "TurboRender",
    "TurboResponse",
    "arender_frame",
    "remove_frame",
    "render_frame",
    "render_frame_string",
]

#: The media type of a response of ``<turbo-stream>`` elements.
STREAM_CONTENT_TYPE = "text/vnd.turbo-stream.html"

R = TypeVar("R", covariant=True)


@runtime_checkable
class SafeHtml(Protocol):
    """An object with safe HTML: a safe string, or a :class:`TurboRender`."""

    def __html__(self) -> str:
        """Return the HTML."""


class Streaming(Protocol[R]):
    """An object that takes a :class:`TurboRender`: a stream."""

    def stream(self, frame: Any) -> R:
        """Send the frame's elements."""


class TurboRender(Verbs["TurboRender"]):
    """
    A rendered template or text, and the elements that the verbs have made.

    Each verb returns a new object with the elements so far and one more; the original
    object does not change.

    >>> hello = render_frame_string("Hello")
    >>> str(hello.append(id="messages"))
    '<turbo-stream action="append" target="messages">\
<template>Hello</template></turbo-stream>'
    >>> str(remove_frame(id="message_1").remove(id="message_2"))
    '<turbo-stream action="remove" target="message_1"></turbo-stream>\
<turbo-stream action="remove" target="message_2"></turbo-stream>'

    An object that has content already takes a selector instead of a template:
    ``hello.append(".messages")``.
    """

    def __init__(self, text: object = None) -> None:
        self._content = None if text is None else render_text(text)
        self._elements = Elements()

    def __str__(self) -> str:
        if not self._elements:
            raise NoActionError
        return self._elements

    def __html__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<TurboRender {str(self._elements or self._content or '')!r}>"

    @property
    def response(self) -> TurboResponse:
        """A response that performs the elements on the page of the request."""
        return TurboResponse(self)

    def stream_to(self, stream: Streaming[R]) -> R:
        """Broadcast the elements to all pages that show ``stream``."""
        return stream.stream(self)

    def _prepare(
        self, action: str, content: Content, place: Place
    ) -> tuple[Content, Place]:
        if self._content is None or action in CONTENTLESS:
            return super()._prepare(action, content, place)
        if content.given() == ("template",) and place.id is place.selector is None:
            content, place = Content(), place._replace(selector=content.template)
        if content.given():
            raise ContentError(action, ("rendered content", *content.given()))
        return Content(html=self._content), place

    def _emit(self, elements: Elements) -> TurboRender:
        frame = copy(self)
        frame._elements = self._elements.followed_by(elements)
        return frame


class TurboResponse(HttpResponse):
    """
    A response of ``<turbo-stream>`` elements, which Turbo performs.

    ``TurboResponse(render_frame(…).append(id="messages"), remove_frame(id="hint"))``.
    Pass :class:`TurboRender` objects, or strings marked safe.
    """

    def __init__(
        self,
        *frames: SafeHtml,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            "".join(map(_html, frames)),
            content_type=f"{STREAM_CONTENT_TYPE}; charset=utf-8",
            status=status,
            headers=headers,
        )


def _html(frame: object) -> str:
    if not isinstance(frame, SafeHtml):
        raise TypeError(
            f"{frame!r} is neither a TurboRender nor marked safe, so it may hold "
            f"anything. Render it with render_frame() or render_frame_string()."
        )
    return frame.__html__()


def render_frame(
    request: HttpRequest | None,
    template_name: Template,
    context: Mapping[str, Any] | None = None,
) -> TurboRender:
    """Render a template like ``render()``, and return an object with the verbs."""
    return TurboRender(render(template_name, context, request=request))


async def arender_frame(
    request: HttpRequest | None,
    template_name: Template,
    context: Mapping[str, Any] | None = None,
) -> TurboRender:
    """Async version of render_frame()."""
    html = await Content(template_name, context, request=request).arender()
    return TurboRender(html)


def render_frame_string(text: object) -> TurboRender:
    """Return an object with the verbs for a text, escaped unless it is marked safe."""
    return TurboRender(text)


def remove_frame(selector: object = None, id: object = None) -> TurboRender:
    """
    Return an object that removes an element.

    >>> str(remove_frame("#reminders li"))
    '<turbo-stream action="remove" targets="#reminders li"></turbo-stream>'
    """
    return TurboRender().remove(selector, id)
