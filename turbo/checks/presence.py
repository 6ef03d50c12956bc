"""System checks of ``Meta.presence`` and ``Meta.whispers``, and of their hooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning

from turbo.streams.stream import Stream

__all__ = ["PRESENCE_HOOKS", "check_presence"]

#: What a project may define, and the option that it needs; each may be a coroutine.
PRESENCE_HOOKS = {
    "on_join": "presence",
    "on_leave": "presence",
    "on_whisper": "whispers",
}


def check_presence(cls: type[Stream]) -> Iterator[CheckMessage]:
    """Check one stream class."""
    options = cls.options
    if not _are_names(options.whispers):
        yield Error(
            f"{cls.label}.Meta.whispers is {options.whispers!r}, not a list of names.",
            hint='Write a tuple of texts: whispers = ("typing",).',
            obj=cls,
            id="turbo.E027",
        )
    if options.presence not in (True, False):
        yield Error(
            f"{cls.label}.Meta.presence is {options.presence!r}.",
            hint="Set it to True or False.",
            obj=cls,
            id="turbo.E028",
        )
    for hook, option in PRESENCE_HOOKS.items():
        if hasattr(cls, hook) and not getattr(options, option):
            yield Warning(
                f"{cls.label}.{hook}() is never called, because the class has no "
                f"Meta.{option}.",
                hint=f"Set Meta.{option}, which is not inherited unless Meta is.",
                obj=cls,
                id="turbo.W024",
            )
    if options.presence and not apps.is_installed("django.contrib.auth"):
        yield Warning(
            f"{cls.label} has Meta.presence, but nobody can log in, so nobody is "
            f"present.",
            hint='Add "django.contrib.auth" to INSTALLED_APPS.',
            obj=cls,
            id="turbo.W025",
        )


def _are_names(value: Any) -> bool:
    if not isinstance(value, tuple | list | set | frozenset):
        return False
    return all(isinstance(name, str) and name for name in value)
