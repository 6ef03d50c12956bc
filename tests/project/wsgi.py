"""
What gunicorn loads before it forks its workers.

It broadcasts while it is loaded, so that the publisher's thread runs when the workers
are forked, and only in the parent.
"""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

import turbo  # noqa: E402
from tests.testapp.streams import Announcements  # noqa: E402

Announcements().append(text="from the parent", id="list")
turbo.flush(60)
