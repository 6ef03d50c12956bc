"""The middleware that sets ``request.turbo``."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeAlias

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from turbo.delivery.broadcast import get_publisher, moment
from turbo.http.forms import accepts_streams
from turbo.http.native import is_native
from turbo.http.page_start import since_of
from turbo.runtime.context import request_scope, set_since
from turbo.runtime.namespaces import entered
from turbo.runtime.threads import current_in_thread

__all__ = ["TurboDetails", "TurboMiddleware"]

GetResponse: TypeAlias = Callable[[HttpRequest], Any]

# The ids that a <turbo-frame> can have, without characters of markup.
_FRAME_ID = re.compile(r"[^\s<>\"'&`\x00-\x1f\x7f]{1,256}")
# The id is sent with refreshes to everybody, so it must be short and plain.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TurboDetails:
    """
    What Turbo sends in a request's headers.

    Each header is read only when you access its attribute. The response's ``Vary`` then
    names the header, so that caches store separate responses.
    """

    def __init__(self, request: HttpRequest, *, since: str = "") -> None:
        self._request = request
        self._read: dict[str, None] = {}
        #: The position of the streams from before the view read any data.
        self.since = since
        #: Whether the response contains the names of one user.
        self.is_private = False

    def _header(self, name: str) -> str:
        self._read[name] = None
        return self._request.headers.get(name, "")

    def __bool__(self) -> bool:
        """Whether the request was made by Turbo, and not by the browser itself."""
        return bool(
            self._header("Turbo-Frame")
            or self.accepts_streams
            or self._header("X-Turbo-Request-Id")
        )

    @cached_property
    def frame(self) -> str | None:
        """
        The id of the ``<turbo-frame>`` that made the request, or ``None``.

        A header that cannot be an id gets the response *400 Bad Request*.
        """
        if not (value := self._header("Turbo-Frame")):
            return None
        if not _FRAME_ID.fullmatch(value):
            raise BadRequest(f"The Turbo-Frame header is not an id: {value[:80]!r}.")
        return value

    @cached_property
    def accepts_streams(self) -> bool:
        """Whether the client accepts a response of stream elements."""
        self._header("Accept")
        return accepts_streams(self._request)

    @cached_property
    def request_id(self) -> str | None:
        """The id that Turbo gave this request, or ``None`` if there is none."""
        self._header("X-Turbo-Request-Id")
        return _request_id(self._request) or None

    @cached_property
    def native(self) -> bool:
        """Whether the request comes from an app made with Hotwire Native."""
        self._header("User-Agent")
        return is_native(self._request)

    @cached_property
    def prefetch(self) -> bool:
        """Whether Turbo prefetches the page, before anybody has clicked on its link."""
        return any(
            self._header(name).lower().startswith("prefetch")
            for name in ("X-Sec-Purpose", "Sec-Purpose")
        )

    def patch_headers(self, response: HttpResponseBase) -> HttpResponseBase:
        """Add to ``Vary`` every header that was read; keep shared caches away."""
        if self._read:
            patch_vary_headers(response, list(self._read))
        if self.is_private:
            patch_cache_control(response, private=True)
        return response


class TurboMiddleware:
    """
    Sets ``request.turbo`` to a :class:`TurboDetails`, sync and async.

    It notes the position of the streams before the view reads any data, for the page to
    send when it subscribes. It also adds the request's id to page refreshes that are
    sent during the request, so that the page which caused them does not refresh. Put it
    before any middleware that reads from the database, but after the one that finds the
    tenant, if there is one: an asynchronous view gets its namespace from here.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Set ``request.turbo``, and return the response of the view."""
        if self._is_async:
            return self.__acall__(request)
        details = self._begin(request, since_of(request) or moment())
        with request_scope(_request_id(request)):
            response = self.get_response(request)
        return details.patch_headers(response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        details = self._begin(request, since_of(request) or await _amoment())
        namespace = await current_in_thread()
        with request_scope(_request_id(request)), entered(namespace):
            response = await self.get_response(request)
        return details.patch_headers(response)

    def _begin(self, request: HttpRequest, since: str) -> TurboDetails:
        set_since(since)
        details = request.turbo = TurboDetails(request, since=since)  # type: ignore[attr-defined]
        return details


async def _amoment() -> str:
    # Only the first request of a process may have to wait, in a thread.
    known = get_publisher().moment()
    return (
        known if known != "?" else await sync_to_async(moment, thread_sensitive=False)()
    )


def _request_id(request: HttpRequest) -> str:
    value: str = request.headers.get("X-Turbo-Request-Id", "")
    return value if _REQUEST_ID.fullmatch(value) else ""
