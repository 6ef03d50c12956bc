"""Pages of lists."""

from __future__ import annotations

from typing import Any

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.response import Response

from turbo.observers.conf import get_observer_settings

__all__ = ["WebsocketLimitOffsetPagination"]


class WebsocketLimitOffsetPagination(LimitOffsetPagination):
    """
    Pages by ``limit`` and ``offset``, without links, which make no sense on a socket.

    ::

        → {"action": "list", "request_id": 1, "limit": 2, "offset": 2}
        ← {"action": "list", …, "data": {"count": 5, "limit": 2, "offset": 2,
           "results": [{"id": 3}, {"id": 4}]}}

    No page has more rows than ``max_limit``, nor than the setting ``MAX_LIST``. A
    message without a ``limit`` gets a page of ``default_limit`` rows; without that, as
    without ``PAGE_SIZE`` of DRF's settings, it gets all rows, and no page.
    """

    def get_limit(self, request: Any) -> int | None:
        """Return how many rows the client wants; ``None`` for all of them."""
        limit: int | None = super().get_limit(request)
        return limit if limit is None else min(limit, get_observer_settings().max_list)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page, and where in the list it stands."""
        return Response(
            {
                "count": self.count,
                "limit": self.limit,
                "offset": self.offset,
                "results": data,
            }
        )
