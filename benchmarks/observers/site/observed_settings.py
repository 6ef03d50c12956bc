"""The settings of the measured site; the environment chooses the library."""

from __future__ import annotations

import os
from pathlib import Path

OURS = os.environ["BENCH_LIBRARY"] == "ours"
DIRECTORY = Path(os.environ["BENCH_DIRECTORY"])
SECRET_KEY = "only for the benchmark"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "observed_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    *(["turbo", "turbo.observers"] if OURS else []),
    "people",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DIRECTORY / "db.sqlite3"),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
_LAYERS = {
    "redis": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": _LAYERS[os.environ["BENCH_LAYER"]],
        "CONFIG": {
            "hosts": [
                {
                    "address": os.environ["BENCH_REDIS"],
                    "socket_timeout": None,
                    "max_connections": 1_000,
                }
            ]
        },
    }
}
LOGGING = {"version": 1, "root": {"level": "ERROR"}}
