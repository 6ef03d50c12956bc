"""A check for classes that other processes do not know, and for missing apps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.urls import get_resolver
from django.utils.module_loading import import_string

from turbo.changes.durability import durable_models
from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError
from turbo.runtime.discovery import misplaced

__all__ = ["check_app", "check_declarations", "load_application", "load_urls"]

#: The apps that have a section in the settings.
SECTIONS = ("BINDINGS", "OBSERVERS", "PUBSUB")


def check_declarations(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check where classes are declared, and that their apps are installed."""
    load_urls()
    return [*_misplaced(), *_without_app(), *_without_outbox()]


def check_app(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, for the apps that need it, that ``"turbo"`` is installed."""
    if apps.is_installed("turbo"):
        return []
    return [
        Warning(
            "'turbo' is not in INSTALLED_APPS, so a log-out does not end connections, "
            "streams are not found, and most checks are not run.",
            hint="Add 'turbo' to INSTALLED_APPS.",
            id="turbo.W019",
        )
    ]


def load_urls() -> None:
    """
    Import the views, which may declare classes.

    An error is raised: a second import may fail for another reason, such as a model
    that the admin knows already, and hide it.
    """
    if getattr(settings, "ROOT_URLCONF", None):
        _ = get_resolver().url_patterns


def load_application() -> None:
    """Import what the server imports."""
    if name := getattr(settings, "ASGI_APPLICATION", None):
        import_string(name)


def _misplaced() -> Iterator[CheckMessage]:
    for found in misplaced():
        check_id = "turbo.W019" if found.lacks_app else "turbo.W018"
        yield Warning(found.problem, hint=found.hint, obj=found.cls, id=check_id)


def _without_app() -> Iterator[CheckMessage]:
    with suppress(ConfigurationError):  # another check reports it
        for section in SECTIONS:
            app = f"turbo.{section.lower()}"
            is_set = getattr(get_settings(), section.lower())
            if is_set and not apps.is_installed(app):
                yield Warning(
                    f"TURBO[{section!r}] is set, but {app!r} is not in INSTALLED_APPS.",
                    hint=f"Add {app!r} to INSTALLED_APPS, or remove the setting.",
                    id="turbo.W019",
                )


def _without_outbox() -> Iterator[CheckMessage]:
    if apps.is_installed("turbo.database"):
        return
    users = [f"{model._meta.label} is durable" for model in durable_models()]
    with suppress(ConfigurationError):  # another check reports it
        if get_settings().outbox:
            users.append("TURBO['OUTBOX'] is set")
    if users:
        yield Warning(
            f"{', '.join(users)}, but 'turbo.database' is not in INSTALLED_APPS, so "
            f"changes are lost when their process is killed.",
            hint="Add 'turbo.database' to INSTALLED_APPS, and run manage.py migrate.",
            id="turbo.W019",
        )
