from __future__ import annotations

from turbo.asgi import get_application

application = get_application()
