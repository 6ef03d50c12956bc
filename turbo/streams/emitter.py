"""The method behind all verbs: it makes one element of content and place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, Self, TypeVar

from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString

from turbo import metrics
from turbo.delivery.audiences import Forms
from turbo.exceptions import ContentError
from turbo.runtime.context import request_id
from turbo.runtime.threads import in_database_thread, in_waiting_thread
from turbo.streams.html import (
    CONTENTLESS,
    OVERWRITING,
    TARGETED,
    Attributes,
    dom_id,
    element,
)
from turbo.streams.rendering import Template, render, render_text, variables

__all__ = ["Content", "Elements", "Emitter", "Place", "refresh_element"]

R = TypeVar("R")

logger = logging.getLogger("turbo.streams")


class Content(NamedTuple):
    """The content of an element: a template with context, a text, or trusted HTML."""

    template: Template | None = None
    context: Mapping[str, Any] | None = None
    text: object = None
    html: str | None = None
    request: HttpRequest | None = None

    def given(self) -> tuple[str, ...]:
        """Return the names of the arguments for content that were passed."""
        if self.template is self.text is None:
            return () if self.html is None else ("html",)
        kinds = {"template": self.template, "text": self.text, "html": self.html}
        return tuple(name for name, value in kinds.items() if value is not None)

    def render(self) -> str | None:
        """Return the HTML, or ``None`` if no content was passed."""
        if self.template is not None:
            return render(self.template, self.context, request=self.request)
        if self.text is not None:
            return render_text(self.text, request=self.request)
        return self.html

    async def arender(self) -> str | None:
        """Async version of render()."""
        return await in_database_thread(self.render)


class Place(NamedTuple):
    """The target of an element and its other attributes."""

    id: object = None
    selector: object = None
    method: str | None = None
    attributes: Attributes | None = None

    @property
    def target(self) -> str | None:
        """The id of the target, if it was given by id."""
        if self.id is None:
            return None
        return dom_id(self.id) if isinstance(self.id, Model) else str(self.id)

    def element(self, action: str, content: str | None) -> SafeString:
        """Return the element for ``action`` in this place."""
        attributes = dict(self.attributes) if self.attributes else {}
        if self.method is not None:
            attributes = {"method": self.method} | attributes
        return element(
            action,
            target=self.target,
            targets=self.selector,
            content=content,
            attributes=attributes,
        )

    def overwritten_by(self, action: str) -> tuple[str, ...]:
        """Return the id or selector that ``action`` overwrites, if it does."""
        if action not in OVERWRITING:
            return ()
        return (self.target or str(self.selector),)


class Elements(SafeString):
    """
    Finished elements, and what a broadcast of them needs to know.

    ``targets`` are the ids that they overwrite. A ``summary`` can replace several
    similar broadcasts. ``rendered`` is the moment before they were rendered, if they
    will wait. ``forms`` are the elements of each audience if they differ; the text
    itself is empty then.
    """

    targets: tuple[str, ...] = ()
    summary: SafeString | None = None
    rendered: str = ""
    forms: Forms | None = None

    @classmethod
    def of(
        cls,
        html: str,
        *targets: str,
        summary: SafeString | None = None,
        rendered: str = "",
        forms: Forms | None = None,
    ) -> Self:
        """Return the elements in ``html``."""
        elements = cls(html)
        if targets:
            elements.targets = targets
        if summary is not None:
            elements.summary = summary
        if rendered:
            elements.rendered = rendered
        if forms is not None:
            elements.forms = forms
        return elements

    def followed_by(self, other: Elements) -> Elements:
        """Return these elements and then the ``other`` ones."""
        return Elements.of(self + other, *self.targets, *other.targets)


def refresh_element() -> SafeString:
    """Return a refresh for all pages but the one that made the current request."""
    return _refresh(request_id())


@lru_cache(maxsize=64)
def _refresh(request_id: str) -> SafeString:
    return element("refresh", attributes={"request-id": request_id or None})


class Emitter(Generic[R]):
    """The base class of objects with verbs; subclasses define where elements go."""

    #: A template is rendered once for each of them, if there are any.
    _audiences: tuple[str, ...] = ()

    def _perform(self, action: str, content: Content, place: Place) -> R:
        content, place = self._prepare(action, content, place)
        targets = place.overwritten_by(action)
        rendered = self._moment() if targets else ""
        if self._audiences and content.template is not None:
            forms = _forms(self._audiences, action, content, place)
            elements = Elements.of("", *targets, rendered=rendered, forms=forms)
            return self._emit(elements)
        html = place.element(action, content.render())
        return self._emit(Elements.of(html, *targets, rendered=rendered))

    async def _aperform(self, action: str, content: Content, place: Place) -> R:
        if content.template is None:
            return await in_waiting_thread(self._perform, action, content, place)
        # Templates may run queries, which need the thread of the synchronous code.
        return await in_database_thread(self._perform, action, content, place)

    def _prepare(
        self, action: str, content: Content, place: Place
    ) -> tuple[Content, Place]:
        """Return the arguments of a verb; raise an exception if they do not fit."""
        given = content.given()
        if len(given) > 1 or (given and action in CONTENTLESS):
            raise ContentError(action, given)
        if not given and action in TARGETED - CONTENTLESS:
            raise ContentError(action)
        return content, place

    def _refresh(
        self, *, method: str | None, scroll: str | None, attributes: Attributes | None
    ) -> R:
        # The page that made the request already has the new state.
        request = {"request-id": request_id() or None}
        extra = {"method": method, "scroll": scroll} | dict(attributes or {})
        refresh = element("refresh", attributes=request | extra)
        summary = element("refresh", attributes=extra)
        return self._emit(Elements.of(refresh, summary=summary))

    def _moment(self) -> str:
        """Return the moment before a rendering, if the elements will wait."""
        return ""

    def _emit(self, elements: Elements) -> R:
        """Send finished elements; this must not wait for anything."""
        raise NotImplementedError


def _forms(
    audiences: Sequence[str], action: str, content: Content, place: Place
) -> Forms:
    """
    Return an element for each audience.

    If the template fails for some of them, these get a gap; the exception is raised if
    it fails for all.
    """
    values = variables(content.context)
    forms: dict[str, str | None] = {}
    failures: dict[str, Exception] = {}
    for audience in audiences:
        own = content._replace(context=values | {"audience": audience})
        try:
            forms[audience] = place.element(action, own.render())
        except Exception as error:
            forms[audience], failures[audience] = None, error
    if len(failures) == len(forms):
        raise failures[audiences[0]]
    for audience, failure in failures.items():
        metrics.count("failed")
        logger.error(
            "%r could not be rendered for the audience %r, whose pages get a gap.",
            content.template,
            audience,
            exc_info=failure,
        )
    return forms
