"""Pages of lists."""

from __future__ import annotations

from typing import Any

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.response import Response

__all__ = ["WebsocketLimitOffsetPagination"]


class WebsocketLimitOffsetPagination(LimitOffsetPagination):
    """
    Pages by ``limit`` and ``offset``, without links, which mean nothing on a socket.

    ::

        → {"action": "list", "request_id": 1, "limit": 2, "offset": 2}
        ← {"action": "list", …, "data": {"count": 5, "limit": 2, "offset": 2,
           "results": [{"id": 3}, {"id": 4}]}}
    """

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
