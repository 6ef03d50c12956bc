"""
The verbs for async code.

Templates may query, so they are rendered in the thread of the synchronous code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.http import HttpRequest

from turbo.streams.emitter import Content, Emitter, Place
from turbo.streams.html import Attributes
from turbo.streams.rendering import Template

__all__ = ["AsyncVerbs"]

R = TypeVar("R")


class AsyncVerbs(Emitter[R]):
    """The verbs of :class:`~turbo.streams.verbs.Verbs` as coroutines, ``a`` before."""

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

    async def arefresh(
        self,
        *,
        method: str | None = None,
        scroll: str | None = None,
        attributes: Attributes | None = None,
    ) -> R:
        """Async version of refresh()."""
        return self._refresh(method=method, scroll=scroll, attributes=attributes)

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
