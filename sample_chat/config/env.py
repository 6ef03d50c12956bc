"""Read the few environment variables of the sample chat."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit


def flag(name, default):
    """True for "1", "true", "yes" and "on"; the default when the variable is unset."""
    value = os.environ.get(name)
    return default if value is None else value.lower() in {"1", "true", "yes", "on"}


def words(name, default=""):
    """The comma-separated words of a variable."""
    return [word for word in os.environ.get(name, default).split(",") if word]


def database(value):
    """Settings for a PostgreSQL URL, or for an SQLite file if it is not a URL."""
    url = urlsplit(str(value))
    if url.scheme not in {"postgres", "postgresql"}:
        return sqlite(value)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.removeprefix("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": unquote(url.hostname or ""),
        "PORT": str(url.port or ""),
    }


def sqlite(path):
    """Settings for an SQLite file that can be read while it is written."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
        },
    }


def beside(path):
    """The file of turbo.database: one process at a time can write to a file."""
    return Path(path).with_name("turbo.sqlite3")


def channel_layers(redis_url):
    """Use Redis or Valkey if there is a URL, else the memory of this process."""
    if not redis_url:
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    return {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_url], "prefix": "chat"},
        }
    }
