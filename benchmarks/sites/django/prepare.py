"""Make the tables, a user with a session, and the room; print the page's data."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
django.setup()

from importlib import import_module  # noqa: E402

from board.models import Room  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import (  # noqa: E402
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
)
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from site_publish import ROOMS  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
user, _ = User.objects.get_or_create(username="ann")
rooms = [Room(pk=n, name="Lobby") for n in range(1, ROOMS + 1)]
Room.objects.bulk_create(rooms, ignore_conflicts=True)
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
streams = [room.stream for room in rooms]
ours = hasattr(streams[0], "sign")
signed = [s.sign(user) if ours else s.signed_stream_name for s in streams]
page = {"session": session.session_key, "signed": signed}
with suppress(ImportError):
    from board.streams import Typing

    page["typing"] = Typing().sign(user)
print(json.dumps(page))
