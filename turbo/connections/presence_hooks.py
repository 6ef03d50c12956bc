"""The calls of ``on_join`` and ``on_leave``, in threads for code of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from turbo.exceptions import UnknownStreamError
from turbo.replay.leases import Change
from turbo.runtime.failures import is_outage, log_failure
from turbo.runtime.namespaces import entered, split
from turbo.runtime.threads import answer_of, in_turn
from turbo.streams.model_streams import ModelStream
from turbo.streams.present import read_member, users_of
from turbo.streams.registry import from_name
from turbo.streams.stream import Stream

__all__ = ["tell"]


async def tell(changes: Iterable[Change]) -> AsyncIterator[Sequence[Change]]:
    """
    Call the hooks for changes; yield those of each stream when they have been told.

    A hook that raises an exception is not called again.
    """
    by_name: dict[str, list[tuple[str, Change]]] = {}
    for change in changes:
        try:
            user, name = read_member(change.member)
        except ValueError as error:
            log_failure("It cannot be read who has joined or left.", error)
            user, name = "", ""
        by_name.setdefault(name, []).append((user, change))
    for name, group in by_name.items():
        try:
            with entered(split(name)[0]):  # the caller works for all of them
                stream = from_name(name)
                if _has_hooks(stream):
                    await in_turn(("presence", name), _tell_stream, stream, group)
        except UnknownStreamError:
            pass  # it was declared when the user joined
        except Exception as error:
            log_failure("It could not be told who has joined or left.", error)
            if is_outage(error):
                continue  # it is told later
        yield [change for _, change in group]


def _has_hooks(stream: Stream) -> bool:
    if not stream.options.presence:
        return False
    return hasattr(stream, "on_join") or hasattr(stream, "on_leave")


def _tell_stream(stream: Stream, group: Sequence[tuple[str, Change]]) -> None:
    if isinstance(stream, ModelStream) and not stream.exists():
        return  # nobody can see it any more
    users = {str(user.pk): user for user in users_of({key for key, _ in group})}
    for key, change in group:
        name = "on_join" if change.has_joined else "on_leave"
        hook = getattr(stream, name, None)
        user = users.get(key) or (None if change.has_joined else _deleted(key))
        if hook is None or user is None:
            continue
        try:
            answer_of(hook(user))
        except Exception as error:
            log_failure(f"{type(stream).__qualname__}.{name}() failed.", error)


def _deleted(key: str) -> Any:
    """Return a user with nothing but a key, so that its element can be removed."""
    model = get_user_model()
    try:
        user: Any = model(pk=model._meta.pk.to_python(key))
    except ValidationError:  # the model had keys of another type
        return None
    user._state.adding = False  # it had a row, and its elements have ids
    return user
