"""
The registry of stream classes.

A class registers itself when it is defined. :func:`autodiscover` imports the
``streams`` module of every installed app, so the classes are defined in each process:
the server, a shell, a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from turbo.exceptions import (
    ConfigurationError,
    NamespaceError,
    UnknownStreamError,
)
from turbo.runtime.discovery import Home, declared
from turbo.runtime.namespaces import current, split

if TYPE_CHECKING:
    from turbo.streams.stream import Stream

__all__ = [
    "autodiscover",
    "label_of",
    "place_of",
    "register",
    "stream_class",
    "stream_classes",
]

HOME = Home(app="turbo", module="streams")

_classes: dict[str, type[Stream]] = {}


def autodiscover() -> None:
    """Import the ``streams`` module of every installed app."""
    autodiscover_modules("streams")


def label_of(cls: type, *, app_label: str | None = None) -> str:
    """
    Return ``"<app label>:<class>"``.

    For a class outside any installed app, it is the first part of its module's name.
    """
    if app_label is None:
        config = apps.get_containing_app_config(cls.__module__)
        app_label = config.label if config else cls.__module__.partition(".")[0]
    return f"{app_label}:{cls.__name__}"


def place_of(cls: type, model: Any) -> str:
    """Return the module of a class, and its model if there is one."""
    meta = getattr(model, "_meta", None)
    return cls.__module__ if meta is None else f"{cls.__module__} for {meta.label}"


def register(cls: type[Stream]) -> None:
    """Add a stream class under its label."""
    label = cls.label
    known = _classes.get(label)
    if known is not None:
        places = [place_of(it, it.options.model) for it in (known, cls)]
        if places[0] != places[1]:  # otherwise the module is imported again
            raise ConfigurationError(
                f"Two streams are called {label!r}: one in {places[0]}, one in "
                f"{places[1]}. Rename one, or set its Meta.app_label."
            )
    _classes[label] = cls
    declared(cls, HOME)


def stream_classes() -> list[type[Stream]]:
    """Return all stream classes, sorted by label."""
    return [_classes[label] for label in sorted(_classes)]


def stream_class(label: str) -> type[Stream]:
    """Return the stream class with this label."""
    try:
        return _classes[label]
    except (KeyError, TypeError):
        raise UnknownStreamError(label, _classes) from None


def from_name(name: str) -> Stream:
    """
    Return the stream with a full name: ``"chat:RoomStream:1"``.

    A name with a namespace has to be in that of the moment.
    """
    namespace, name_here = split(name)
    if namespace and namespace != (here := current()):
        raise NamespaceError(name, namespace, here)
    app, _, rest = name_here.partition(":")
    cls, _, args = rest.partition(":")
    label = f"{app}:{cls}" if rest else name_here
    return stream_class(label).from_args_text(args)


def resolve(value: Any) -> Stream:
    """
    Return the stream that ``value`` stands for.

    ``value`` is a stream, a stream class without arguments, a name, or an instance of a
    model with a stream.
    """
    if isinstance(value, str):
        return from_name(value)
    if isinstance(value, type) and hasattr(value, "from_args_text"):
        return value.from_args_text("")  # type: ignore[no-any-return]
    if hasattr(value, "stream_name"):
        return value  # type: ignore[no-any-return]
    stream: Any = getattr(value, "stream", None)
    if not hasattr(stream, "stream_name"):
        raise UnknownStreamError(value, _classes)
    return stream  # type: ignore[no-any-return]
