"""Pagination of lists."""

from __future__ import annotations

from typing import Any

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.response import Response

from turbo.observers.conf import get_observer_settings

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

    def get_limit(self, request: Any) -> int | None:
        """Return how many rows the client wants; ``None`` for all of them."""
        limit: int | None = super().get_limit(request)
        return limit if limit is None else min(limit, get_observer_settings().max_list)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with its limit and offset, and the count of all objects."""
        return Response(
            {
                "count": self.count,
                "limit": self.limit,
                "offset": self.offset,
                "results": data,
            }
        )
