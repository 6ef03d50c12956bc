"""Pagination of lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.pagination import LimitOffsetPagination

from turbo.observers.conf import get_observer_settings
from turbo.observers.wire.requests import query_of
from turbo.typing import Scope

__all__ = ["WebsocketLimitOffsetPagination"]


class WebsocketLimitOffsetPagination(LimitOffsetPagination):
    """
    Pages by ``limit`` and ``offset``, without links, which are no use on a WebSocket.

    ::

        → {"action": "list", "request_id": 1, "limit": 2, "offset": 2}
        ← {"action": "list", …, "data": {"count": 5, "limit": 2, "offset": 2,
           "results": [{"id": 3}, {"id": 4}]}}

    No page has more rows than ``max_limit`` and the setting ``MAX_LIST`` allow. A
    message without a ``limit`` gets a page of ``default_limit`` rows, which is
    ``PAGE_SIZE`` of DRF's settings unless set. Without both, it gets all rows and no
    page.
    """

    def paginate_queryset(  # type: ignore[override]
        self, queryset: Any, scope: Scope, view: Any = None, **kwargs: Any
    ) -> list[Any] | None:
        """Return the objects of a page; ``kwargs`` are the arguments of the message."""
        self.scope = scope
        self.limit = self.get_limit(**kwargs)
        if self.limit is None:
            return None
        self.count = self.get_count(queryset)
        self.offset = self.get_offset(**kwargs)
        if self.offset > self.count:
            return []
        return list(queryset[self.offset : self.offset + self.limit])

    def get_limit(self, **kwargs: Any) -> int | None:  # type: ignore[override]
        """Return how many rows the client wants; ``None`` for all of them."""
        limit = _number(kwargs, self.limit_query_param, least=1)
        if limit is None:
            limit = self.default_limit
        elif self.max_limit is not None:
            limit = min(limit, self.max_limit)
        return limit if limit is None else min(limit, get_observer_settings().max_list)

    def get_offset(self, **kwargs: Any) -> int:  # type: ignore[override]
        """Return how many rows come before the page."""
        return _number(kwargs, self.offset_query_param, least=0) or 0

    def get_paginated_response(  # type: ignore[override]
        self, data: Any
    ) -> dict[str, Any]:
        """Return the page with its limit and offset, and the count of all objects."""
        return {
            "count": self.count,
            "limit": self.limit,
            "offset": self.offset,
            "results": data,
        }


def _number(arguments: Mapping[str, Any], name: str, *, least: int) -> int | None:
    try:
        number = int(query_of(arguments).get(name, ""))
    except (OverflowError, TypeError, ValueError):
        return None
    return number if number >= least else None
