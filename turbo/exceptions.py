"""
The exceptions of this library, as a tree.

* :exc:`TurboError`
    * :exc:`ConfigurationError` (and ``ImproperlyConfigured``)
        * :exc:`DecoratorError` (and ``ValueError``)
    * :exc:`UnsavedInstanceError` (and ``ValueError``)
    * :exc:`TargetError` (and ``ValueError``)
    * :exc:`ActionError` (and ``ValueError``)
    * :exc:`ContentError` (and ``TypeError``)
    * :exc:`NoActionError` (and ``ValueError``)
    * :exc:`TextError` (and ``RuntimeError``)
    * :exc:`UnknownStreamError` (and ``LookupError``)
        * :exc:`NamespaceError`
    * :exc:`UnknownAudienceError` (and ``ValueError``)
    * :exc:`NameRefused` (and ``ValueError``)
    * :exc:`FrameError` (and ``ValueError``)
"""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "ActionError",
    "ConfigurationError",
    "ContentError",
    "DecoratorError",
    "FrameError",
    "NameRefused",
    "NamespaceError",
    "NoActionError",
    "TargetError",
    "TextError",
    "TurboError",
    "UnknownAudienceError",
    "UnknownStreamError",
    "UnsavedInstanceError",
]


class TurboError(Exception):
    """The base class of every exception that this library raises."""


class ConfigurationError(TurboError, ImproperlyConfigured):
    """A declaration or a setting is invalid."""


class DecoratorError(ConfigurationError, ValueError):
    """A decorator cannot be used in this way, or on this method."""


class UnsavedInstanceError(TurboError, ValueError):
    """An instance without a primary key has no stream."""

    def __init__(self, model_label: str) -> None:
        super().__init__(model_label)
        self.model_label = model_label

    def __str__(self) -> str:
        return (
            f"This {self.model_label} instance has no primary key, so it has no "
            f"stream. Save it first."
        )


class TargetError(TurboError, ValueError):
    """An element has no target although it needs one, or has two."""

    def __init__(self, action: str, given: Iterable[str] = ()) -> None:
        super().__init__(action, tuple(given))
        self.action = action
        self.given = tuple(given)

    def __str__(self) -> str:
        if not self.given:
            return f"{self.action!r} needs a target: pass either id= or selector=."
        given = " and ".join(self.given)
        return f"{self.action!r} was given {given}: pass either id= or selector=."


class ActionError(TurboError, ValueError):
    """The name of an action or an attribute is not allowed."""

    def __init__(self, name: object, kind: str = "action") -> None:
        super().__init__(name, kind)
        self.name = name
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"{self.name!r} is not a valid {self.kind} name. Start with a letter and "
            f"use ASCII letters, digits, '-' and '_' only; event handlers (on…) and "
            f"the names that the element sets itself are refused."
        )


class ContentError(TurboError, TypeError):
    """An element has no content although it needs some, or too much content."""

    def __init__(self, action: str, given: Iterable[str] = ()) -> None:
        super().__init__(action, tuple(given))
        self.action = action
        self.given = tuple(given)

    def __str__(self) -> str:
        if not self.given:
            return f"{self.action!r} needs content: pass a template, text= or html=."
        given = " and ".join(self.given)
        if len(self.given) == 1:
            return f"{self.action!r} takes no content, but was given {given}."
        return f"{self.action!r} was given {given}: pass only one of them."


class NoActionError(TurboError, ValueError):
    """A rendered template or text was sent before a verb was called on it."""

    def __str__(self) -> str:
        return (
            "This content has no action yet. Call a verb first: append(), replace(), "
            "update() and so on."
        )


class TextError(TurboError, RuntimeError):
    """
    A growing text or a progress cannot be written in this way, or not now.

    ``reason`` is ``"taken"`` (another writer has the id), ``"lost"`` (another writer
    has begun it anew meanwhile, or the log has refused it), ``"begun"``,
    ``"not begun"``, ``"ended"``, ``"of another process"`` or ``"too long"``.
    """

    def __init__(self, id: str, reason: str, detail: str = "") -> None:
        super().__init__(id, reason, detail)
        self.id = id
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return _TEXT_ERRORS[self.reason].format(id=self.id, detail=self.detail)


_TEXT_ERRORS = {
    "taken": (
        "Another writer is writing {id!r}. Use another id, or wait until it has ended; "
        "one that was killed is given up after 30 seconds."
    ),
    "lost": "{id!r} cannot be written any more: {detail}.",
    "begun": "{id!r} has begun already. Make another object to write it anew.",
    "not begun": "{id!r} has not begun. Write it in a with block, or call start().",
    "ended": "{id!r} has ended. Make another object to write it anew.",
    "of another process": (
        "{id!r} was begun by another process, which was forked. Begin it where it is "
        "written."
    ),
    "too long": "{id!r} would become too long: {detail}.",
}


class UnknownStreamError(TurboError, LookupError):
    """No ``streams.py`` declares a stream with this name."""

    def __init__(self, name: object, known: Iterable[str] = ()) -> None:
        super().__init__(name, tuple(known))
        self.name = name
        self.known = tuple(sorted(known))

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none (does an app have a streams.py?)"
        return f"There is no stream {self.name!r}. Known streams: {known}."


class UnknownAudienceError(TurboError, ValueError):
    """A stream does not declare this audience."""

    def __init__(self, label: str, audience: object, known: Iterable[str] = ()) -> None:
        super().__init__(label, audience, tuple(known))
        self.label = label
        self.audience = audience
        self.known = tuple(known)

    def __str__(self) -> str:
        known = ", ".join(map(repr, self.known)) or "none"
        return (
            f"{self.label} has no audience {self.audience!r}. Its Meta.audiences "
            f"declares: {known}."
        )


class NamespaceError(UnknownStreamError):
    """The name of a stream is one of another namespace."""

    def __init__(self, name: str, namespace: str, current: str) -> None:
        super().__init__(name)
        self.namespace = namespace
        self.current = current

    def __str__(self) -> str:
        return (
            f"The stream {self.name!r} is one of the namespace {self.namespace!r}, and "
            f"the namespace of the moment is {self.current!r}. Enter the other one "
            f"first, or leave the namespace out of the name."
        )


class NameRefused(TurboError, ValueError):
    """
    A signed name is not accepted.

    ``reason`` is the word that the page receives: ``"forged"``, ``"expired"`` or
    ``"foreign"`` (signed for another user, or in another namespace).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The signed stream name was refused: {self.reason}."


class FrameError(TurboError, ValueError):
    """A frame from a client is invalid."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
