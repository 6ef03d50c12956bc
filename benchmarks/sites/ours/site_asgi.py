from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from turbo.asgi import get_application  # noqa: E402

application = get_application()
