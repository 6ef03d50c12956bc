"""
Permissions, checked on connect, and for each action, each object and each event.

Permissions of DRF work unchanged, alone and combined with ``&``, ``|`` and ``~``. They
see the message as an HTTP request (see :mod:`turbo.observers.wire.requests`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rest_framework import permissions as drf

from turbo.connections.users import scope_user
from turbo.observers.asking_in_turn import ask
from turbo.observers.wire.requests import http_request
from turbo.typing import Scope

__all__ = [
    "AllowAny",
    "BasePermission",
    "IsAuthenticated",
    "about_event",
    "adapt",
]

_about_event: ContextVar[bool] = ContextVar("turbo_about_event", default=False)


@contextmanager
def about_event() -> Iterator[None]:
    """
    Mark the permission checks in this block as being about an event.

    A context variable says so and not an argument, because arguments may come from the
    client.
    """
    token = _about_event.set(True)
    try:
        yield
    finally:
        _about_event.reset(token)


class _Combinable(type):
    """Permission classes combine like sets: ``IsAuthenticated & ~IsBanned``."""

    def __and__(cls, other: Any) -> _Combination:
        return _Combination(_And, cls, other)

    def __or__(cls, other: Any) -> _Combination:  # type: ignore[override]
        return _Combination(_Or, cls, other)

    def __invert__(cls) -> _Combination:
        return _Combination(_Not, cls)


class _Combination:
    """A combination of permission classes, which is called like a class."""

    def __init__(self, operator: type[BasePermission], *operands: Any) -> None:
        self._operator = operator
        self._operands = operands

    def __call__(self) -> BasePermission:
        return self._operator(*(adapt(operand()) for operand in self._operands))

    def __and__(self, other: Any) -> _Combination:
        return _Combination(_And, self, other)

    def __or__(self, other: Any) -> _Combination:
        return _Combination(_Or, self, other)

    def __invert__(self) -> _Combination:
        return _Combination(_Not, self)


class BasePermission(metaclass=_Combinable):
    """
    The base class of permissions. Subclasses may override methods by plain functions.

    A plain function runs in a thread, where it may use the database.
    """

    message: str | None = None
    #: Whether the permission depends only on who the user is. Such a permission is
    #: checked again when the user changes, not for each event.
    depends_on_user_only: bool = False

    async def has_permission(
        self, scope: Scope, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        """
        Return whether the client may do this.

        ``kwargs`` are the arguments of the client's message. Before an event the
        ``action`` is ``"create"``, ``"update"`` or ``"delete"``, the arguments are
        those of the subscription, and the library adds ``event=True``, which clients
        cannot send.
        """
        return True

    async def can_connect(
        self, scope: Scope, consumer: Any, message: Any = None
    ) -> bool:
        """Return whether the connection is accepted."""
        return True

    async def has_object_permission(
        self, scope: Scope, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> bool:
        """Return whether the client may do this with this object."""
        return True

    def asks_objects(self) -> bool:
        """Return whether the permission checks objects."""
        own = type(self).has_object_permission
        return own is not BasePermission.has_object_permission


class AllowAny(BasePermission):
    """Everybody may do everything."""

    depends_on_user_only = True


class IsAuthenticated(BasePermission):
    """All users who are logged in may do everything."""

    depends_on_user_only = True

    async def has_permission(
        self, scope: Scope, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        """Return whether the user is logged in."""
        return bool(scope_user(scope).is_authenticated)


class _FromDRF(BasePermission):
    """A permission class of DRF."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.message = getattr(inner, "message", None)
        self.depends_on_user_only = type(inner) in _USER_ONLY

    def has_permission(
        self, scope: Scope, consumer: Any, action: str, **kwargs: Any
    ) -> Any:
        request = self._request(scope, _asked(action), kwargs)
        return self._inner.has_permission(request, consumer)

    def can_connect(self, scope: Scope, consumer: Any, message: Any = None) -> Any:
        request = self._request(scope, "connect", {})
        return self._inner.has_permission(request, consumer)

    def has_object_permission(
        self, scope: Scope, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> Any:
        request = self._request(scope, _asked(action), kwargs)
        return self._inner.has_object_permission(request, consumer, obj)

    def _request(self, scope: Scope, action: str, arguments: Mapping[str, Any]) -> Any:
        # Permissions for models refuse methods that they do not know.
        known = getattr(self._inner, "perms_map", None)
        return http_request(scope, action, arguments, methods=known)

    def asks_objects(self) -> bool:
        own = type(self._inner).has_object_permission
        return own is not drf.BasePermission.has_object_permission


def _asked(action: str) -> str:
    # An event shows the object, so the client needs the permission to read it.
    return "retrieve" if _about_event.get() else action


#: Compared with the exact type, because a subclass may check more.
_USER_ONLY = frozenset(
    {drf.AllowAny, drf.IsAdminUser, drf.IsAuthenticated, drf.IsAuthenticatedOrReadOnly}
)


class _Operator(BasePermission):
    def __init__(self, *operands: BasePermission) -> None:
        self._operands = operands
        self.depends_on_user_only = all(o.depends_on_user_only for o in operands)
        self.message = next((o.message for o in operands if o.message), None)

    def asks_objects(self) -> bool:
        return any(operand.asks_objects() for operand in self._operands)


class _And(_Operator):
    async def has_permission(self, *args: Any, **kwargs: Any) -> bool:
        return await self._all("has_permission", *args, **kwargs)

    async def can_connect(self, *args: Any, **kwargs: Any) -> bool:
        return await self._all("can_connect", *args, **kwargs)

    async def has_object_permission(self, *args: Any, **kwargs: Any) -> bool:
        return await self._all("has_object_permission", *args, **kwargs)

    async def _all(self, method: str, /, *args: Any, **kwargs: Any) -> bool:
        for operand in self._operands:
            if not await ask(getattr(operand, method), *args, **kwargs):
                return False
        return True


class _Or(_Operator):
    async def has_permission(self, *args: Any, **kwargs: Any) -> bool:
        return await self._any("has_permission", *args, **kwargs)

    async def can_connect(self, *args: Any, **kwargs: Any) -> bool:
        return await self._any("can_connect", *args, **kwargs)

    async def has_object_permission(
        self, scope: Scope, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> bool:
        # Only an operand that allows the action may allow the object.
        for operand in self._operands:
            if await ask(
                operand.has_permission, scope, consumer, action, **kwargs
            ) and await ask(
                operand.has_object_permission, scope, consumer, action, obj, **kwargs
            ):
                return True
        return False

    async def _any(self, method: str, /, *args: Any, **kwargs: Any) -> bool:
        for operand in self._operands:
            if await ask(getattr(operand, method), *args, **kwargs):
                return True
        return False


class _Not(_Operator):
    async def has_permission(self, *args: Any, **kwargs: Any) -> bool:
        return not await ask(self._operands[0].has_permission, *args, **kwargs)

    async def can_connect(self, *args: Any, **kwargs: Any) -> bool:
        return not await ask(self._operands[0].can_connect, *args, **kwargs)

    async def has_object_permission(self, *args: Any, **kwargs: Any) -> bool:
        operand = self._operands[0]
        if not operand.asks_objects():
            return True  # it does not check objects, so there is nothing to negate
        return not await ask(operand.has_object_permission, *args, **kwargs)


def adapt(permission: Any) -> BasePermission:
    """Return a permission of any kind as a :class:`BasePermission`."""
    if isinstance(permission, BasePermission):
        return permission
    operator = _OPERATORS.get(type(permission))
    if operator is None:
        return _FromDRF(permission)
    operands = (getattr(permission, name, None) for name in ("op1", "op2"))
    return operator(*(adapt(operand) for operand in operands if operand is not None))


#: Our operators, by the class that DRF uses for ``&``, ``|`` and ``~``.
_OPERATORS: dict[type, type[_Operator]] = {
    drf.AND: _And,
    drf.OR: _Or,
    drf.NOT: _Not,
}
