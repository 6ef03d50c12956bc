"""
A site with the debug toolbar, in a process of its own.

The toolbar has to be installed from the start.
``python -m tests.inspector.toolbar_site 2 1`` makes a request that broadcasts twice and
one that does so once, and prints what the panel says to each, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import django
from django.conf import settings

from tests import settings as base

CHANGES = {
    "DEBUG": True,
    "INTERNAL_IPS": ["127.0.0.1"],
    "ROOT_URLCONF": __name__,
    "INSTALLED_APPS": [*base.INSTALLED_APPS, "debug_toolbar"],
    "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
    "DEBUG_TOOLBAR_PANELS": ["turbo.inspector.panel.TurboPanel"],
    "DATABASES": {},
}
if __name__ == "__main__":
    named = {name: getattr(base, name) for name in dir(base) if name.isupper()}
    settings.configure(**{**named, **CHANGES})
    django.setup()

from debug_toolbar.toolbar import debug_toolbar_urls  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402

from tests.testapp.streams import Announcements  # noqa: E402


def broadcasting(request: HttpRequest, number: int) -> HttpResponse:
    """Broadcast a few times."""
    for place in range(number):
        Announcements().append(text=f"<{place}>", id="list")
    return HttpResponse("<html><body>Done</body></html>")


urlpatterns = [path("<int:number>/", broadcasting), *debug_toolbar_urls()]


def asked(number: int) -> dict[str, Any]:
    """Return what the toolbar shows of one request."""
    client = Client()
    page = client.get(f"/{number}/").text
    [shown] = re.findall(r'data-request-id="([^"]+)"', page)
    panel = {"request_id": shown, "panel_id": "TurboPanel"}
    answer = client.get("/__debug__/render_panel/", panel).json()
    return {"page": page, "panel": answer["content"]}


if __name__ == "__main__":
    print(json.dumps([asked(int(number)) for number in sys.argv[1:]]))
