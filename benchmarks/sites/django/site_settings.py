"""Settings, URLs and views of the measured site; the environment chooses the layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

DIRECTORY = Path(os.environ["BENCH_DIRECTORY"])
SECRET_KEY = "only for the benchmark"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "site_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "turbo",
    "board",
]
MIDDLEWARE: list[str] = []
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DIRECTORY / "db.sqlite3"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}


def _layer(kind: str, url: str) -> dict[str, Any]:
    if kind == "memory":
        return {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"capacity": 1_000},
        }
    name = {
        "redis": "core.RedisChannelLayer",
        "pubsub": "pubsub.RedisPubSubChannelLayer",
    }[kind]
    host = {"address": url, "socket_timeout": None}
    return {"BACKEND": f"channels_redis.{name}", "CONFIG": {"hosts": [host]}}


CHANNEL_LAYERS = {
    "default": _layer(os.environ["BENCH_LAYER"], os.environ.get("BENCH_REDIS", ""))
}
# All clients are one user.
_UNLIMITED = ("FRAMES", "NAMES", "TESTS", "REPLAY_BYTES", "SUBSCRIPTIONS", "WAITING")
TURBO = {"USER_LIMITS": dict.fromkeys(_UNLIMITED)}
LOGGING = {"version": 1, "root": {"level": "WARNING"}}
