"""
Settings of the test project, for pytest's own process and for the live servers.

A live server differs by the JSON object in ``TURBO_TEST_SETTINGS``, whose keys replace
the settings below; ``tests.support.servers.Project`` writes it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

#: Made and removed by ``tests/conftest.py``.
SCRATCH = Path(tempfile.gettempdir(), f"turbo-tests-{os.getpid()}")


def sqlite_database(path: Path) -> dict[str, Any]:
    """A file, for threads that share an in-memory database lock each other out."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "TEST": {"NAME": str(path)},
        "OPTIONS": {
            "timeout": 60,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
        },
    }


SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
USE_TZ = True
ROOT_URLCONF = "tests.project.urls"
ASGI_APPLICATION = "tests.project.asgi.application"
STATIC_URL = "/static/"
LOGIN_URL = "/login/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "pgtrigger",
    "turbo",
    "turbo.bindings",
    "turbo.database",
    "turbo.inspector",
    "turbo.observers",
    "turbo.pubsub",
    "tests.testapp",
    "tests.bindings.app",
    "tests.observers.app",
    "tests.pubsub.shop",
]

# Tables are made from the models as they stand: no migration files to keep.
MIGRATION_MODULES = dict.fromkeys(
    [
        "auth",
        "bindings_app",
        "contenttypes",
        "observers_app",
        "sessions",
        "shop",
        "testapp",
        "turbo",
        "turbo_database",
    ]
)

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
        },
    },
]

DATABASES = {
    alias: sqlite_database(SCRATCH / f"{alias}.sqlite3")
    for alias in ("default", "other")
}

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# A re-check of permissions asks the database; where that is counted, none may come by.
TURBO = {"RECHECK_INTERVAL": 3_600}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"turbo": {"handlers": ["console"], "level": "INFO"}},
}

globals().update(json.loads(os.environ.get("TURBO_TEST_SETTINGS", "{}")))
