"""What tells a client whether its copy of a response is still good."""

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

__all__ = ["ETags", "empty", "is_conditional", "request_parts", "vary"]

# Another process may have run other code, which made other responses of the same rows.
_STARTED = math.ceil(time.time())


@dataclass(frozen=True, slots=True)
class ETags:
    """
    A strong ETag and a time for the responses made of one version of a binding.

    HTTP's times are whole seconds. A copy that was made in the second of a change may
    be older than the change, so ``unchanged_since`` is the second after, and only a
    copy of that second or a later one is good.
    """

    etag: str
    #: ``None``: no date tells whether a copy is good.
    unchanged_since: int | None
    now: float

    @classmethod
    def of(cls, state: State, parts: Iterable[Any]) -> ETags:
        """Return the ETag and date of whatever ``parts`` tell apart, in one state."""
        text = json.dumps([str(state.version), *parts], default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        since = max(math.floor(state.modified) + 1, _STARTED)
        return cls(f'"{digest}"', since, state.now)

    def of_content(self, data: Any) -> ETags | None:
        """
        Return those of a response that may depend on more than the version.

        ``None`` where it cannot be told from another one.
        """
        try:
            text = json.dumps(data, cls=DjangoJSONEncoder)
        except (TypeError, ValueError):
            return None
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return replace(self, etag=f'{self.etag[:-1]}-{digest}"', unchanged_since=None)

    def permit_write(self, request: Any) -> bool:
        """Return whether the author of a write has seen this version."""
        given = parse_etags(request.headers.get("If-Match", ""))
        mine = (etag for etag in given if etag.startswith(f"{self.etag[:-1]}-"))
        return replace(self, etag=next(mine, self.etag)).status(request) is None

    def status(self, request: Any) -> int | None:
        """Return 304 or 412, if the request's conditions ask for no more than that."""
        response = get_conditional_response(request, self.etag, self.unchanged_since)
        return response.status_code if response is not None else None

    def mark(self, response: HttpResponseBase) -> None:
        """Put the ETag and date into the headers of a response."""
        response.headers["ETag"] = self.etag
        if self.unchanged_since is None:
            return
        # Nothing may be dated in the future; a copy of this second is asked for again.
        since = min(self.unchanged_since, math.floor(self.now))
        response.headers["Last-Modified"] = http_date(since)


def is_conditional(request: Any) -> bool:
    """Return whether a write is wanted in one state only."""
    names = ("If-Match", "If-None-Match", "If-Unmodified-Since")
    return any(name in request.headers for name in names)


def empty(response: Any) -> None:
    """Make a 304 of a response."""
    response.status_code = 304
    response.data = None
    response.content = b""
    del response["Content-Type"]


def request_parts(request: Any) -> list[Any]:
    """Return what of a request, beside its user, makes the response another one."""
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
    """Let no cache keep a response without asking, nor give it to another user."""
    headers = ["Accept", "Accept-Language"]
    if per_user:
        headers += ["Authorization", "Cookie"]
    patch_vary_headers(response, headers)
    response.headers.setdefault(
        "Cache-Control", "private, no-cache" if per_user else "no-cache"
    )
