"""The project as Django alone serves it: no WebSockets, but event streams."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

application = get_asgi_application()
