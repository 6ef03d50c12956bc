"""Settings for production.

SECRET_KEY, ALLOWED_HOSTS and DATABASE are required in the environment. With REDIS_URL
the processes share a Redis, and without it a database: that of the site if it is in
PostgreSQL, or an SQLite file beside that of the site.
"""

import os

from config import env
from config.settings import *  # noqa: F403

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS]

DATABASES = {"default": env.database(os.environ["DATABASE"])}
if redis_url := os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS = env.channel_layers(redis_url)
else:
    INSTALLED_APPS.append("turbo.database")  # noqa: F405
    CHANNEL_LAYERS = {"default": {"BACKEND": "turbo.database.layer.DatabaseLayer"}}
    if "sqlite3" in DATABASES["default"]["ENGINE"]:
        DATABASES["turbo"] = env.sqlite(env.beside(os.environ["DATABASE"]))
        DATABASE_ROUTERS = ["turbo.database.routers.DatabaseRouter"]
        TURBO["DATABASE"] = "turbo"  # noqa: F405

STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")  # noqa: F405
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.storage.ModuleStaticFilesStorage"},
}

# The proxy terminates TLS and sets this header; it must drop the client's own.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
