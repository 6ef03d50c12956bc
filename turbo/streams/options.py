"""The options in the ``Meta`` of a stream class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from turbo.exceptions import ConfigurationError

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    The options of a stream class.

    Only the class's own ``Meta`` counts. To use the options of a base class, inherit
    from its ``Meta``: ``class Meta(Base.Meta)``. ``abstract`` is never inherited.
    """

    #: The model whose instances have this stream.
    model: Any = None
    #: Whether the class is a base for other streams, without name and subscribers.
    abstract: bool = False
    #: The attribute of model instances that returns the stream.
    attribute: str = "stream"
    #: The app in the stream's name; by default the app that the module belongs to.
    app_label: str | None = None
    #: The audiences, each of which gets its own rendering of a template.
    audiences: tuple[str, ...] = ()
    #: Whether changes of the model outlive the process that made them.
    durable: bool = False
    #: Whether changes of the model are told that send no signals, on PostgreSQL.
    capture: bool = False
    #: Whether every change of the model refreshes the pages that show the stream.
    refreshes: bool = False
    #: The foreign key to the object whose stream gets the changes.
    broadcasts_to: str | None = None
    #: Template of one object for ``broadcasts_to``; the default follows a convention.
    template: str | None = None
    #: Element to which new objects are added for ``broadcasts_to``.
    target: str | None = None
    #: How new objects are added for ``broadcasts_to``.
    inserts_by: str = "append"
    #: Whether it is kept whose pages show the stream.
    presence: bool = False
    #: The names of the signals that pages may pass on to each other.
    whispers: Sequence[str] = ()

    @classmethod
    def of(cls, stream_class: type) -> Options:
        """Return the options that ``stream_class`` declares."""
        meta = stream_class.__dict__.get("Meta")
        if meta is None:
            return cls()
        known = {field.name for field in fields(cls)}
        given = {
            name: getattr(meta, name) for name in dir(meta) if not name.startswith("__")
        }
        given["abstract"] = meta.__dict__.get("abstract", False)
        if unknown := sorted(given.keys() - known):
            raise ConfigurationError(
                f"{stream_class.__qualname__}.Meta has no option {unknown[0]!r}. "
                f"Known options: {', '.join(sorted(known))}."
            )
        given["audiences"] = _audiences(stream_class, given.get("audiences", ()))
        return cls(**given)


def _audiences(stream_class: type, audiences: Any) -> tuple[str, ...]:
    """Return the audiences in ``Meta``; raise an exception if they are not valid."""
    names = () if isinstance(audiences, str) else tuple(audiences)
    are_names = all(isinstance(name, str) and name for name in names)
    if not are_names or len(set(names)) < len(names) or isinstance(audiences, str):
        raise ConfigurationError(
            f"{stream_class.__qualname__}.Meta.audiences is {audiences!r}. It should "
            f'be a tuple of different names, such as ("member", "moderator").'
        )
    return tuple(map(str.__str__, names))
