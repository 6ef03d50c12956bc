"""The attacked site: pages and observers on one server."""

from __future__ import annotations

from turbo.asgi import get_application

application = get_application("benchmarks.timing.hostile_routes.urlpatterns")
