"""A check for settings of libraries that this one has replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from turbo.checks.declarations import load_application, load_urls

__all__ = ["check_peers"]

#: The module of a library and its setting, a dict, with what takes the place of each
#: key.
SECTIONS: dict[tuple[str, str], dict[str, str]] = {
    ("djangochannelsrestframework", "DJANGO_CHANNELS_REST_API"): {
        "DEFAULT_PERMISSION_CLASSES": "TURBO['OBSERVERS']['PERMISSION_CLASSES']",
        "DEFAULT_PAGINATION_CLASS": "pagination_class of each consumer",
        "PAGE_SIZE": "REST_FRAMEWORK['PAGE_SIZE'], or default_limit of the pagination",
    },
}
#: The module of a library and the prefix of its settings, with what takes their place.
PREFIXES: dict[tuple[str, str], dict[str, str]] = {
    ("tg_pubsub", "TG_PUBSUB_"): {
        "HOST": "TURBO['PUBSUB']['HOST']",
        "PORT": "TURBO['PUBSUB']['PORT']",
        "PING_DELTA": "TURBO['PUBSUB']['PING_INTERVAL']",
        "EXTRA_MODELS": "TURBO['PUBSUB']['EXTRA_MODELS']",
        "HELLO_PACKETS": "TURBO['PUBSUB']['HELLO_MESSAGES']",
        "PROTOCOL_HANDLER": "TURBO['PUBSUB']['ACCESS']",
        "TOKEN_PARAM": "TURBO['PUBSUB']['QUERY_TOKEN']",
    },
}


def check_peers(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that no settings remain of a library that is not used any more."""
    return [
        Warning(
            f"{setting} has no effect.",
            hint=f"Use {counterpart} instead, and remove it."
            if counterpart
            else "It has no counterpart here; remove it.",
            id="turbo.W017",
        )
        for setting, counterpart in [*_in_sections(), *_with_prefixes()]
    ]


def _in_sections() -> Iterator[tuple[str, str]]:
    for (module, name), counterparts in SECTIONS.items():
        section = getattr(settings, name, None)
        if isinstance(section, Mapping) and not _is_used(module):
            for key in section:
                yield f"{name}[{key!r}]", counterparts.get(key, "")


def _with_prefixes() -> Iterator[tuple[str, str]]:
    for (module, prefix), counterparts in PREFIXES.items():
        names = [name for name in dir(settings) if name.startswith(prefix)]
        if names and not _is_used(module):
            for name in names:
                yield name, counterparts.get(name.removeprefix(prefix), "")


def _is_used(module: str) -> bool:
    """Return whether the project imports a library, if only where it is served."""
    if module not in sys.modules:
        load_urls()
        load_application()
    return module in sys.modules
