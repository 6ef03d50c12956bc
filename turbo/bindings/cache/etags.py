"""ETags and dates, by which a client learns whether its copy is still valid."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from django.core.serializers.json import DjangoJSONEncoder
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import http_date, parse_etags

from turbo.bindings.store import State
from turbo.runtime.namespaces import in_namespace

__all__ = ["ETags", "empty", "is_conditional", "request_parts", "vary"]

# Before this process started, other code may have made other responses of these rows.
_STARTED = math.ceil(time.time())


@dataclass(frozen=True, slots=True)
class ETags:
    """
    A strong ETag and a time for responses made from one version of a binding.

    Times in HTTP are whole seconds. A copy made in the second of a change may be older
    than the change. So ``unchanged_since`` is the next second, and only a copy from
    that second or later is valid.
    """

    etag: str
    #: ``None`` if the date of a copy does not show whether it is valid.
    unchanged_since: int | None
    now: float

    @classmethod
    def of(cls, state: State, parts: Iterable[Any]) -> ETags:
        """Return the ETag and date for a state and values that vary the response."""
        version = in_namespace(str(state.version))
        text = json.dumps([version, *parts], default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        since = max(math.floor(state.modified) + 1, _STARTED)
        return cls(f'"{digest}"', since, state.now)

    def of_content(self, data: Any) -> ETags | None:
        """
        Return the ETag of a response that may depend on more than the version.

        Return ``None`` if the data cannot be compared.
        """
        try:
            text = json.dumps(data, cls=DjangoJSONEncoder)
        except (TypeError, ValueError):
            return None
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return replace(self, etag=f'{self.etag[:-1]}-{digest}"', unchanged_since=None)

    def permit_write(self, request: Any) -> bool:
        """Return whether the conditions of a write allow it for this version."""
        given = parse_etags(request.headers.get("If-Match", ""))
        mine = (etag for etag in given if etag.startswith(f"{self.etag[:-1]}-"))
        return replace(self, etag=next(mine, self.etag)).status(request) is None

    def status(self, request: Any) -> int | None:
        """Return 304 or 412 if the request's conditions call for it."""
        response = get_conditional_response(request, self.etag, self.unchanged_since)
        return response.status_code if response is not None else None

    def mark(self, response: HttpResponseBase) -> None:
        """Put the ETag and date into the headers of a response."""
        response.headers["ETag"] = self.etag
        if self.unchanged_since is None:
            return
        # The date must not lie in the future. It may be earlier than unchanged_since;
        # then the copy does not count as valid, and clients load it again.
        since = min(self.unchanged_since, math.floor(self.now))
        response.headers["Last-Modified"] = http_date(since)


def is_conditional(request: Any) -> bool:
    """Return whether a write has conditions on the state of its object."""
    names = ("If-Match", "If-None-Match", "If-Unmodified-Since")
    return any(name in request.headers for name in names)


def empty(response: Any) -> None:
    """Turn a response into a 304."""
    response.status_code = 304
    response.data = None
    response.content = b""
    del response["Content-Type"]


def request_parts(request: Any) -> list[Any]:
    """Return the values of a request, except its user, that vary the response."""
    renderer = request.accepted_renderer
    return [
        request.scheme,
        request.get_host(),
        request.path,
        sorted(parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True)),
        [renderer.media_type, renderer.format, request.accepted_media_type],
        getattr(request, "version", None),
        translation.get_language(),
        timezone.get_current_timezone_name(),
    ]


def vary(response: HttpResponseBase, *, per_user: bool) -> None:
    """Make caches revalidate a response, and keep those of users apart."""
    headers = ["Accept", "Accept-Language"]
    if per_user:
        headers += ["Authorization", "Cookie"]
    patch_vary_headers(response, headers)
    response.headers.setdefault(
        "Cache-Control", "private, no-cache" if per_user else "no-cache"
    )
