"""
Stand-ins for the client, given to code whose result clients share.

Filter backends and serializers make what clients share: a query, a serialisation. This
code may ask who the client is. Here it runs with a request, a consumer and a context
that know no client, so that its result cannot depend on one. If the code looks for the
client all the same, its result is dropped, and it runs again for each client.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from types import FunctionType, MethodType
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import QueryDict

from turbo.observers.wire.requests import method_of, query_string

__all__ = ["Impersonal", "NotShared"]

T = TypeVar("T")
OWN = "turbo.observers."

#: Keys of a serializer's context that lead to the client.
PERSONAL = frozenset({"consumer", "request", "scope", "session", "user", "view"})


class NotShared(Exception):
    """The result may depend on the client, so each client gets its own."""


class Impersonal:
    """One run of shared code, for the clients of one consumer class."""

    def __init__(
        self, consumer: Any, arguments: Mapping[str, Any], *, action: str
    ) -> None:
        #: Whether the code has looked for the client.
        self.looked = False
        #: The attributes of the consumer that the code has read.
        self.attributes: set[str] = set()
        #: The query parameters that the code has read; ``None`` stands for all of them.
        self.parameters: set[str] | None = set()
        self.query = QueryDict(query_string(arguments, action=action))
        self.consumer = _Consumer(self, consumer)
        self.request = _Request(self, method_of(action))

    def run(self, code: Callable[[], T], *, consumers: Iterable[Any] = ()) -> T:
        """Run ``code``; raise :exc:`NotShared` if it looks for the client."""
        try:
            result = code()
        except Exception:
            if self.looked:
                raise NotShared from None
            raise
        if self.looked or any(
            not self.attributes.isdisjoint(vars(consumer)) for consumer in consumers
        ):
            raise NotShared
        return result

    def queryset(self) -> QuerySet[Any]:
        """Return the rows that all clients see, filtered by the query parameters."""
        rows: QuerySet[Any] = self.consumer.get_queryset()
        for backend in self.consumer.filter_backends:
            rows = backend().filter_queryset(self.request, rows, self.consumer)
        return rows

    def data_of(self, shown: Any, **given: Any) -> Any:
        """Return a serialised object, or several with ``many=True``."""
        serializer = self.consumer.get_serializer_class()
        return serializer(instance=shown, context=_Context(self), **given).data

    def significant(self) -> Hashable:
        """Return those query parameters that the code has read."""
        names = self.query if self.parameters is None else self.parameters
        return tuple((name, *self.query.getlist(name)) for name in sorted(names))

    def at_client(self, what: str) -> NotShared:
        """Note that the code has looked for the client."""
        self.looked = True
        return NotShared(what)

    def at_parameter(self, name: str | None) -> None:
        """Note that the code has read a query parameter, or all of them."""
        if name is None:
            self.parameters = None
        elif self.parameters is not None:
            self.parameters.add(name)


class _Request:
    """A request without a user, a session or headers."""

    def __init__(self, run: Impersonal, method: str) -> None:
        self._run = run
        self.method = method
        self.query_params = self.GET = _Query(run)

    def __getattr__(self, name: str) -> Any:
        raise self._run.at_client(name)


class _Query(Mapping[str, Any]):
    """The query parameters; it notes which are read."""

    def __init__(self, run: Impersonal) -> None:
        self._run = run

    def __getitem__(self, name: str) -> Any:
        self._run.at_parameter(name)
        return self._run.query[name]

    def __contains__(self, name: object) -> bool:
        self._run.at_parameter(str(name))
        return name in self._run.query

    def get(self, name: str, default: Any = None) -> Any:
        self._run.at_parameter(name)
        return self._run.query.get(name, default)

    def getlist(self, name: str, default: Any = None) -> list[Any]:
        self._run.at_parameter(name)
        return self._run.query.getlist(name, default)

    def __iter__(self) -> Iterator[str]:
        self._run.at_parameter(None)
        return iter(self._run.query)

    def __len__(self) -> int:
        self._run.at_parameter(None)
        return len(self._run.query)

    def __getattr__(self, name: str) -> Any:
        self._run.at_parameter(None)
        return getattr(self._run.query, name)


class _Consumer:
    """A consumer with the attributes of its class, and none of a connection."""

    def __init__(self, run: Impersonal, consumer: Any) -> None:
        self.__run = run
        self.__model = consumer

    def __getattr__(self, name: str) -> Any:
        cls = type(self.__model)
        self.__run.attributes.add(name)
        if name in vars(self.__model) or _is_dynamic(cls):
            raise self.__run.at_client(name)
        value = inspect.getattr_static(cls, name, _MISSING)
        if value is _MISSING:
            raise AttributeError(name)
        if isinstance(value, FunctionType) and value.__module__.startswith(OWN):
            return MethodType(value, self)
        if hasattr(type(value), "__get__"):  # a method or property of the project
            raise self.__run.at_client(name)
        return value


_MISSING = object()


def _is_dynamic(cls: type) -> bool:
    own = vars(object)["__getattribute__"]
    return inspect.getattr_static(cls, "__getattribute__") is not own or hasattr(
        cls, "__getattr__"
    )


class _Context(MutableMapping[str, Any]):
    """The context of a serializer: empty, and may be written to."""

    def __init__(self, run: Impersonal) -> None:
        self._run = run
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in PERSONAL and key not in self._values:
            raise self._run.at_client(key)
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        if key in PERSONAL and key not in self._values:
            raise self._run.at_client(str(key))
        return key in self._values

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        raise self._run.at_client("context")  # a copy may be searched later

    def __len__(self) -> int:
        raise self._run.at_client("context")  # the context of a client is not empty
