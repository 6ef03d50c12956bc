"""
The verbs, which change pages: the methods of streams and of ``TurboRender``.

Each verb calls the one method in :mod:`turbo.streams.emitter` and has an async version
with an ``a`` before its name. Templates may run queries, so the async versions render
them in the thread of the synchronous code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.http import HttpRequest

from turbo.runtime.threads import in_waiting_thread
from turbo.streams.emitter import Content, Emitter, Place
from turbo.streams.html import Attributes
from turbo.streams.rendering import Template

__all__ = ["Verbs"]

R = TypeVar("R")


class Verbs(Emitter[R]):
    """
    Append, prepend, replace, update, before, after, remove, refresh, action.

    ``id`` is an element's id, or a model instance for its
    :func:`~turbo.streams.html.dom_id`; ``selector`` is a CSS selector. Exactly one of
    them is needed. The content is a ``template`` rendered with ``context``, a ``text``,
    which is escaped unless it is marked safe, or ``html``, which goes out as it is:
    pass only what you trust.

    ``stream.append("chat/message.html", {"message": message}, id="messages")`` sends::

        <turbo-stream action="append" target="messages">\
<template>…</template></turbo-stream>

    ``method="morph"`` makes ``replace`` and ``update`` change only what differs;
    ``attributes`` become attributes of the element. With a ``request`` the template
    sees it, and what context processors add.
    """

    def append(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content at the end of the target, in place of a child with its id."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("append", content, place)

    async def aappend(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of append()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("append", content, place)

    def prepend(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content at the start of the target, in place of a child with its id."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("prepend", content, place)

    async def aprepend(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of prepend()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("prepend", content, place)

    def replace(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content in place of the target itself."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("replace", content, place)

    async def areplace(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of replace()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("replace", content, place)

    def update(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content in place of what is inside the target."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("update", content, place)

    async def aupdate(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of update()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("update", content, place)

    def before(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content before the target."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("before", content, place)

    async def abefore(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of before()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("before", content, place)

    def after(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Put content after the target."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform("after", content, place)

    async def aafter(
        self,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of after()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform("after", content, place)

    def remove(
        self,
        selector: object = None,
        id: object = None,
        *,
        attributes: Attributes | None = None,
    ) -> R:
        """
        Remove the target.

        Sends ``<turbo-stream action="remove" target="{id}"></turbo-stream>``.
        """
        place = Place(id, selector, None, attributes)
        return self._perform("remove", Content(), place)

    async def aremove(
        self,
        selector: object = None,
        id: object = None,
        *,
        attributes: Attributes | None = None,
    ) -> R:
        """Async version of remove()."""
        place = Place(id, selector, None, attributes)
        return await self._aperform("remove", Content(), place)

    def refresh(
        self,
        *,
        method: str | None = None,
        scroll: str | None = None,
        attributes: Attributes | None = None,
    ) -> R:
        """
        Make pages load themselves again and morph.

        Sends ``<turbo-stream action="refresh" request-id="…"></turbo-stream>`` with the
        id of the current Turbo request, if there is one; the page that made this
        request does not refresh. ``method`` (``"morph"``, ``"replace"``) and ``scroll``
        (``"preserve"``, ``"reset"``) override the page's own options.
        """
        return self._refresh(method=method, scroll=scroll, attributes=attributes)

    async def arefresh(
        self,
        *,
        method: str | None = None,
        scroll: str | None = None,
        attributes: Attributes | None = None,
    ) -> R:
        """Async version of refresh()."""
        return await in_waiting_thread(
            self._refresh, method=method, scroll=scroll, attributes=attributes
        )

    def action(
        self,
        name: str,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """
        Make pages carry out an action of your own.

        ``stream.action("notify", text="Saved", attributes={"level": "info"})`` sends::

            <turbo-stream action="notify" level="info">\
<template>Saved</template></turbo-stream>

        Define the function ``Turbo.StreamActions.notify`` to carry it out. A target and
        content are optional.
        """
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return self._perform(name, content, place)

    async def aaction(
        self,
        name: str,
        template: Template | None = None,
        context: Mapping[str, Any] | None = None,
        text: object = None,
        *,
        html: str | None = None,
        id: object = None,
        selector: object = None,
        method: str | None = None,
        attributes: Attributes | None = None,
        request: HttpRequest | None = None,
    ) -> R:
        """Async version of action()."""
        content = Content(template, context, text, html, request)
        place = Place(id, selector, method, attributes)
        return await self._aperform(name, content, place)
