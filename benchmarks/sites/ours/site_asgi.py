from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from turbo.asgi import get_application

application = get_application()

from site_publish import application as publish  # noqa: E402

application.application_mapping["http"] = publish
