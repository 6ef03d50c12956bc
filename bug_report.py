"""
One file that reproduces a bug of django-turbo-streams.

1. Change the model, the stream and the test at the end until the test fails.
2. Run ``python bug_report.py`` where django-turbo-streams is installed.
3. Put this file and what it printed into your report.

It needs nothing else: no project, no server and no Redis. If the bug shows only with
Redis, name a server: ``REDIS_URL=redis://localhost:6379 python bug_report.py``.
"""

from __future__ import annotations

import atexit
import os
import platform
import sys
import tempfile
import unittest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import django
from channels.testing import WebsocketCommunicator
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.management import call_command

import turbo
from turbo.consumers import TurboStreamsConsumer

PACKAGES = [
    "django",
    "channels",
    "channels-redis",
    "redis",
    "daphne",
    "django-turbo-streams",
]
#: Seconds that a frame may take; only a test that fails waits for so long.
PATIENCE = 10

# A file: the library asks for permissions in threads of its own, and each thread has a
# connection, which a database in memory would keep to itself.
directory = tempfile.TemporaryDirectory()
atexit.register(directory.cleanup)

if redis_url := os.environ.get("REDIS_URL"):
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_url], "prefix": "bug-report"},
    }
else:
    layer = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

settings.configure(
    SECRET_KEY="only for this report",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "turbo",
        f"{__name__}.BugReportConfig",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(Path(directory.name, "db.sqlite3")),
        }
    },
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    CHANNEL_LAYERS={"default": layer},
    TURBO={"REPLAY_PREFIX": "bug-report"},
)


class BugReportConfig(AppConfig):
    """Makes an app of this file."""

    name = __name__
    label = "bug_report"


django.setup()

# Models can be imported from here on.
from django.db import connection, connections, models
from django.test import TransactionTestCase

# --- What the bug is about


class Note(models.Model):
    text = models.CharField(max_length=100)


class NoteStream(turbo.ModelStream):
    class Meta:
        model = Note

    def user_passes_test(self, user):
        return True

    def on_save(self, note, created):
        self.update(text=note.text, id="note")


# --- A page, as the server sees it

application = TurboStreamsConsumer.as_asgi()


class Page:
    """A WebSocket that is subscribed to streams, as the browser's client does it."""

    def __init__(self, *streams, user=None):
        self._names = [stream.sign(user) for stream in streams]
        self._socket = WebsocketCommunicator(application, "/ws/")
        if user is not None:
            self._socket.scope["user"] = user

    async def __aenter__(self):
        await self._socket.connect(PATIENCE)
        wanted = [{"name": name} for name in self._names]
        await self._socket.send_json_to({"type": "subscribe", "streams": wanted})
        self.answers = [await self.next_frame() for _ in self._names]
        return self

    async def __aexit__(self, *exc_info):
        await self._socket.disconnect(timeout=PATIENCE)

    async def next_frame(self):
        """Return the next frame of the server: {"type": "message", "data": "…", …}."""
        return await self._socket.receive_json_from(PATIENCE)


# --- What should happen


class BugReport(TransactionTestCase):
    async def test_a_saved_note_reaches_its_page(self):
        with turbo.suppress():  # before the page is there
            note = await Note.objects.acreate(text="Hello")

        async with Page(note.stream) as page:
            note.text = "Good bye"
            await note.asave()
            frame = await page.next_frame()

        self.assertEqual(page.answers[0]["type"], "subscribed")
        self.assertEqual(
            frame["data"],
            '<turbo-stream action="update" target="note">'
            "<template>Good bye</template></turbo-stream>",
        )


# --- Running it


def print_versions() -> None:
    """Print what a report has to say about where it was made."""
    print(f"python {platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        try:
            print(package, version(package))
        except PackageNotFoundError:
            print(package, "is not installed")
    print("channel layer:", layer["BACKEND"], flush=True)


def run() -> bool:
    """Run the tests; return whether they have passed."""
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in apps.get_app_config("bug_report").get_models():
            editor.create_model(model)
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(BugReport)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    turbo.flush()
    connections.close_all()
    return result.wasSuccessful()


if __name__ == "__main__":
    print_versions()
    passed = run()
    print("The test has passed." if passed else "The test has failed.")
    sys.exit(0 if passed else 1)
