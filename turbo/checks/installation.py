"""Checks of a project that do not need to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import ERROR, CheckMessage
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils.module_loading import import_string

from turbo.checks.declarations import (
    check_declarations,
    load_application,
    load_urls,
)
from turbo.checks.finding import Finding
from turbo.checks.peers import check_peers
from turbo.checks.setup import check_setup
from turbo.checks.streams import check_streams
from turbo.http.client_files import client_file
from turbo.middleware import TurboMiddleware
from turbo.streams.registry import stream_classes

__all__ = ["examine_installation"]

MIDDLEWARE = "turbo.middleware.TurboMiddleware"
FILES = ("turbo.js", "turbo-channels.js")


def examine_installation() -> Iterator[Finding]:
    """Yield a finding for the settings, streams, templates and static files."""
    broken = [*_imported("ROOT_URLCONF", load_urls)]
    broken += _imported("ASGI_APPLICATION", load_application)
    peers = [] if broken else check_peers()
    yield from _checked("The settings are in order.", [*check_setup(), *peers])
    yield from broken
    if not broken:
        yield from _checked(
            "All classes are declared where each process finds them.",
            check_declarations(),
        )
        yield from _checked(_streams_found(), check_streams())
    yield _middleware()
    yield _head()
    yield from _static_files()


def _imported(setting: str, load: Callable[[], None]) -> Iterator[Finding]:
    try:
        load()
    except Exception as error:
        yield Finding.failure(
            f"{setting} cannot be imported: {type(error).__name__}: {error}",
            "Correct it first; the classes of the project are not checked until then.",
        )


def _checked(good: str, messages: list[CheckMessage]) -> Iterator[Finding]:
    for message in messages:
        failed = message.level >= ERROR
        tell = Finding.failure if failed else Finding.warning
        yield tell(f"{message.msg} ({message.id})", str(message.hint))
    if not messages:
        yield Finding.ok(good)


def _streams_found() -> str:
    number = len(stream_classes())
    if not number:
        return "No streams are declared yet; declare them in the streams.py of an app."
    return f"{number} streams are declared; manage.py turbo_streams lists them."


def _middleware() -> Finding:
    with suppress(Exception):  # that of ASGI_APPLICATION reports it
        if any(map(_is_ours, map(import_string, settings.MIDDLEWARE))):
            return Finding.ok("TurboMiddleware is installed.")
    return Finding.warning(
        "TurboMiddleware is not installed: there is no request.turbo, and a page that "
        "causes a refresh also refreshes itself.",
        f"Add {MIDDLEWARE!r} to MIDDLEWARE.",
    )


def _is_ours(middleware: Any) -> bool:
    return isinstance(middleware, type) and issubclass(middleware, TurboMiddleware)


def _head() -> Finding:
    try:
        get_template("turbo/head.html")
    except TemplateDoesNotExist:
        return Finding.failure(
            "The template turbo/head.html is not found.",
            'Set "APP_DIRS": True in TEMPLATES, or add the app directories loader.',
        )
    return Finding.ok("The template turbo/head.html is found.")


def _static_files() -> Iterator[Finding]:
    if not apps.is_installed("django.contrib.staticfiles"):
        yield Finding.failure(
            "django.contrib.staticfiles is not installed, so pages get no JavaScript.",
            "Add it to INSTALLED_APPS.",
        )
        return
    for name in FILES:
        yield _static_file(client_file(name))


def _static_file(name: str) -> Finding:
    if finders.find(name) is None:
        is_here = Path(apps.get_app_config("turbo").path, "static", name).exists()
        return Finding.failure(
            f"The static file {name} is missing.",
            "Add django.contrib.staticfiles.finders.AppDirectoriesFinder to "
            "STATICFILES_FINDERS."
            if is_here
            else "Install the package from a wheel, or build a checkout (pip install "
            "-e .).",
        )
    collects = settings.STATIC_ROOT and not settings.DEBUG
    if collects and not staticfiles_storage.exists(name):
        return Finding.warning(
            f"The static file {name} has not been collected to STATIC_ROOT.",
            "Run manage.py collectstatic.",
        )
    return Finding.ok(f"The static file {name} is found.")
