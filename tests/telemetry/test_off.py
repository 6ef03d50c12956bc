"""Without the app nothing is imported, and nothing more is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from django.conf import settings

from tests.support.servers import PATIENCE, ROOT, unmeasured
from tests.telemetry.test_spans import SITE
from tests.testapp.streams import Announcements
from turbo.delivery import publisher
from turbo.delivery.names import stream_id
from turbo.replay.base import Append, Appended
from turbo.runtime import tracing

LOADED = (
    "import django, sys; django.setup(); import turbo.asgi; print(*sorted(m for m in "
    "sys.modules if m.startswith(('prometheus_client', 'turbo.telemetry'))))"
)
#: Redis's own client imports it where it is installed.
HIDDEN = "import sys; sys.modules['opentelemetry'] = None; "


def run(code: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **unmeasured(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TURBO_TEST_SETTINGS": json.dumps(changes),
        },
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def test_without_the_app_nothing_is_imported() -> None:
    assert "turbo.telemetry" not in settings.INSTALLED_APPS

    done = run(HIDDEN + LOADED)

    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_with_the_app_prometheus_is_not_imported() -> None:
    """It is for those who use its collector."""
    loaded = run(LOADED, **SITE).stdout.split()

    assert "turbo.telemetry.spans" in loaded
    assert not [name for name in loaded if "prometheus" in name]


def test_without_the_package_the_app_says_what_to_install() -> None:
    done = run(HIDDEN + LOADED, **SITE)

    assert done.returncode == 1
    assert "ConfigurationError" in done.stderr
    assert 'install "django-turbo-streams[telemetry]"' in done.stderr


def test_without_the_app_a_message_carries_nothing_more() -> None:
    assert tracing.tracer is None
    sid = stream_id(Announcements.label)

    (sent,) = publisher._addressed([Append(sid, "x")], [Appended("k", 1)])

    assert sent[2] == {"type": "turbo.messages", "m": [[sid, "k", 1, ["x"]]]}
