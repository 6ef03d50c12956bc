"""The calls of ``on_join`` and ``on_leave``, in threads for code of the application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from turbo.exceptions import UnknownStreamError
from turbo.replay.leases import Change
from turbo.runtime.failures import is_outage, log_failure
from turbo.runtime.namespaces import entered, split
from turbo.runtime.threads import answer_of, in_thread, to_its_end
from turbo.streams.model_streams import ModelStream
from turbo.streams.present import read_member, users_of
from turbo.streams.registry import from_name
from turbo.streams.stream import Stream

__all__ = ["News", "Taken", "by_stream", "tell"]


@dataclass(slots=True, eq=False)
class Taken:
    """A change that a stream is told of, and the key of its user."""

    change: Change
    user: str
    #: Whether the hook may have been called; until then, only what is true counts.
    is_begun: bool = False
    is_told: bool = False


@dataclass(slots=True, eq=False)
class News:
    """The changes of one stream, whose hooks are called one after the other."""

    stream: str
    changes: list[Taken] = field(default_factory=list)
    #: What is called now, for the log, and since when.
    hook: str = ""
    since: float = 0.0
    #: Whether it took so long that another process may call the hooks.
    is_given_up: bool = False

    def begin(self) -> None:
        """Note that the hooks are called from now on."""
        self.since = time.monotonic()
        for taken in self.changes:
            taken.is_begun = True

    @property
    def left(self) -> Sequence[Taken]:
        """The changes that are still to be told."""
        return [taken for taken in self.changes if not taken.is_told]


def by_stream(changes: Iterable[Change]) -> Sequence[News]:
    """Return what each stream is to be told."""
    found: dict[str, News] = {}
    for change in changes:
        try:
            user, name = map(str, read_member(change.member))
        except (TypeError, ValueError) as error:
            log_failure("It cannot be read who has joined or left.", error)
            user, name = "", ""
        news = found.setdefault(name, News(name))
        news.changes.append(Taken(change, user))
    return list(found.values())


async def tell(news: News) -> None:
    """
    Call the hooks of a stream, and note what it has been told.

    A hook that raises an exception is not called again.
    """
    try:
        with entered(split(news.stream)[0]):  # the caller works for all of them
            stream = from_name(news.stream)
            if _has_hooks(stream):
                news.hook = f"Waiting for the hooks of {type(stream).__qualname__}"
                await to_its_end(in_thread(_tell_stream, stream, news))
    except UnknownStreamError:
        pass  # it was declared when the user joined
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log_failure("It could not be told who has joined or left.", error)
        if is_outage(error):
            return  # it is told later
    if not news.is_given_up:
        for taken in news.changes:
            taken.is_told = True


def _has_hooks(stream: Stream) -> bool:
    if not stream.options.presence:
        return False
    return hasattr(stream, "on_join") or hasattr(stream, "on_leave")


def _tell_stream(stream: Stream, news: News) -> None:
    if isinstance(stream, ModelStream) and not stream.exists():
        return  # nobody can see it any more
    users = {str(user.pk): user for user in users_of({t.user for t in news.changes})}
    for taken in news.changes:
        if news.is_given_up:
            return  # another process may tell of the others
        has_joined = taken.change.has_joined
        name = "on_join" if has_joined else "on_leave"
        user = users.get(taken.user) or (None if has_joined else _deleted(taken.user))
        hook = getattr(stream, name, None)
        if hook is not None and user is not None:
            news.hook = f"{type(stream).__qualname__}.{name}()"
            news.since = time.monotonic()
            try:
                answer_of(hook(user))
            except (Exception, asyncio.CancelledError) as error:
                # What is cancelled is no task of ours: they do not end with a thread.
                log_failure(f"{news.hook} failed.", error)
        taken.is_told = True


def _deleted(key: str) -> Any:
    """Return a user with nothing but a key, so that its element can be removed."""
    model = get_user_model()
    try:
        user: Any = model(pk=model._meta.pk.to_python(key))
    except ValidationError:  # the model had keys of another type
        return None
    user._state.adding = False  # it had a row, and its elements have ids
    return user
