"""
The namespace of the moment, which keeps the tenants of a project apart.

``TURBO["NAMESPACE"]`` returns it. It becomes a part of the names of streams and of
whatever else identifies an object or a user, as in ``"acme/chat:RoomStream:1"``. Two
tenants may then have objects with the same key, and nothing of one reaches the other.

Projects keep their tenant in a thread, as Django does with connections. So a thread
that works for a connection, or reports a change later, enters the namespace first, by
``TURBO["ENTER_NAMESPACE"]``. All tasks of an event loop share one thread, so there the
namespace of a task is in a context variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404
from django.utils.module_loading import import_string

from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import in_loop

__all__ = [
    "SEPARATOR",
    "bare_context",
    "current",
    "entered",
    "find",
    "in_namespace",
    "is_used",
    "join",
    "of_task",
    "split",
    "within",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Between a namespace and what is in it.
SEPARATOR = "/"

# As long as the name of a schema in PostgreSQL; no character of it has a meaning in a
# stream's name or in a pattern of Redis.
_VALID = re.compile(r"[\w.-]{0,63}")
_NOTHING = nullcontext()

#: The namespace of a task or a thread that works for one.
_namespace: ContextVar[str | None] = ContextVar("turbo_namespace", default=None)


@dataclass(frozen=True, slots=True)
class _Functions:
    """The functions of a project with namespaces."""

    namespace: Callable[[], str]
    enter: Callable[[str], AbstractContextManager[object]] | None
    find: Callable[[Mapping[str, Any]], str | None] | None

    def read(self) -> str:
        """Return the namespace of this thread."""
        return _checked(self.namespace(), "NAMESPACE")


def _functions() -> _Functions | None:
    settings = get_settings()
    if settings.namespace is None:
        return None
    return _load(settings.namespace, settings.enter_namespace, settings.find_namespace)


@lru_cache(maxsize=4)
def _load(namespace: Any, enter: Any, find: Any) -> _Functions:
    return _Functions(
        _callable(namespace, "NAMESPACE"),
        None if enter is None else _callable(enter, "ENTER_NAMESPACE"),
        None if find is None else _callable(find, "FIND_NAMESPACE"),
    )


def _callable(given: Any, key: str) -> Any:
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise ConfigurationError(f"TURBO[{key!r}] is {given!r}: {error}.") from error
    if not callable(found):
        raise ConfigurationError(
            f"TURBO[{key!r}] is {given!r}, which cannot be called. Set it to a "
            f"function, or to the dotted path of one."
        )
    return found


def _checked(value: Any, key: str) -> str:
    if isinstance(value, str) and _VALID.fullmatch(value):
        return value
    raise ConfigurationError(
        f"TURBO[{key!r}] returned {value!r:.100}. A namespace is a string of at most "
        f"63 letters, digits and the characters '_', '-' and '.'; it is empty where "
        f"there is no tenant."
    )


def is_used() -> bool:
    """Return whether this project has namespaces."""
    return get_settings().namespace is not None


def current() -> str:
    """Return the namespace of the moment, or ``""`` if there is none."""
    functions = _functions()
    if functions is None:
        return ""
    if (namespace := _namespace.get()) is not None and in_loop():
        return namespace
    return functions.read()


def of_task() -> str | None:
    """Return the namespace that this task or its caller has entered, if any."""
    return _namespace.get()


def in_namespace(name: str) -> str:
    """Return ``name`` as it is in the namespace of the moment."""
    return join(current(), name)


def join(namespace: str, name: str) -> str:
    """
    Return a name in a namespace.

    >>> join("acme", "chat:RoomStream:1"), join("", "chat:RoomStream:1")
    ('acme/chat:RoomStream:1', 'chat:RoomStream:1')
    """
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


def split(name: str) -> tuple[str, str]:
    """Return the namespace that :func:`join` put before a name, and the name."""
    namespace, separator, rest = name.partition(SEPARATOR)
    if not separator or ":" in namespace or not is_used():
        return "", name
    return namespace, rest


def entered(namespace: str | None) -> AbstractContextManager[object]:
    """Let ``namespace`` be that of the moment inside a block; ``None`` changes none."""
    functions = None if namespace is None else _functions()
    if functions is None or namespace is None:
        return _NOTHING
    return _enter(functions, namespace)


@contextmanager
def _enter(functions: _Functions, namespace: str) -> Iterator[None]:
    token = _namespace.set(namespace)
    try:
        if in_loop() or functions.read() == namespace:
            yield
            return
        with _opened(functions, namespace):
            yield
    finally:
        _namespace.reset(token)


@contextmanager
def _opened(functions: _Functions, namespace: str) -> Iterator[None]:
    """Enter a namespace in this thread, and make sure of it."""
    if functions.enter is None:
        raise _misconfigured(
            f"This thread is not in the namespace {namespace!r}, and it cannot enter "
            f"it: TURBO['ENTER_NAMESPACE'] is not set."
        )
    with functions.enter(namespace):
        if (found := functions.read()) != namespace:
            raise _misconfigured(
                f"TURBO['ENTER_NAMESPACE'] was called with {namespace!r}, but then "
                f"TURBO['NAMESPACE'] returned {found!r}."
            )
        yield


def _misconfigured(problem: str) -> ConfigurationError:
    """Return an error that is also logged, as some callers only try again."""
    error = ConfigurationError(problem)
    log_failure("A namespace could not be entered.", error)
    return error


def within(namespace: str | None, work: Callable[P, R]) -> Callable[P, R]:
    """Return a function that enters ``namespace``, if it is one, and calls ``work``."""
    if namespace is None or not is_used():
        return work

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with entered(namespace):
            return work(*args, **kwargs)

    return run


def bare_context() -> Context:
    """Return a context with nothing in it but the namespace of this task."""
    context = Context()
    if (namespace := _namespace.get()) is not None:
        context.run(_namespace.set, namespace)
    return context


def find(scope: Mapping[str, Any]) -> str | None:
    """
    Return the namespace of a WebSocket by its handshake; for threads.

    ``None`` means that there is no such tenant.
    """
    functions = _functions()
    if functions is None:
        return ""
    if functions.find is None:
        return functions.read()
    try:
        found = functions.find(scope)
    except (LookupError, ObjectDoesNotExist, Http404):
        return None
    return None if found is None else _checked(found, "FIND_NAMESPACE")
