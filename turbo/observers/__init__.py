"""
JSON over WebSocket for JavaScript and mobile clients: actions, and events of models.

The protocol and the names are those of Django Channels REST Framework. Its clients work
unchanged, and consumers written for it need only another import. This package needs the
extra ``rest``, and ``"turbo.observers"`` in ``INSTALLED_APPS``.
"""

from __future__ import annotations

from typing import Any

from turbo.observers.actions import action, detached
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.events.instances import ObserverModelInstanceMixin
from turbo.observers.events.lists import ObserverModelListMixin
from turbo.observers.events.model_observers import Action, ModelObserver, model_observer
from turbo.observers.events.signal_observers import Observer, observer
from turbo.observers.generics import GenericAsyncAPIConsumer
from turbo.observers.mixins import (
    CreateModelMixin,
    DeleteModelMixin,
    ListModelMixin,
    PaginatedModelListMixin,
    PatchModelMixin,
    RetrieveModelMixin,
    StreamedPaginatedListMixin,
    UpdateModelMixin,
)
from turbo.observers.multiplexer import Multiplexer
from turbo.observers.pagination import WebsocketLimitOffsetPagination
from turbo.observers.permissions import AllowAny, BasePermission, IsAuthenticated

__all__ = [
    "Action",
    "AllowAny",
    "AsyncAPIConsumer",
    "BasePermission",
    "CreateModelMixin",
    "DeleteModelMixin",
    "GenericAsyncAPIConsumer",
    "IsAuthenticated",
    "ListModelMixin",
    "ModelObserver",
    "Multiplexer",
    "Observer",
    "ObserverModelInstanceMixin",
    "ObserverModelListMixin",
    "PaginatedModelListMixin",
    "PatchModelMixin",
    "RetrieveModelMixin",
    "StreamedPaginatedListMixin",
    "UpdateModelMixin",
    "WebsocketLimitOffsetPagination",
    "action",
    "detached",
    "model_observer",
    "observer",
]


def __getattr__(name: str) -> Any:
    # An ImportError, because "from … import" hides what an AttributeError says.
    if name in ("DjangoViewAsConsumer", "view_as_consumer"):
        raise ImportError(
            f"There is no {name}, because a view would run without the middleware and "
            f"the URL converters that it relies on. Write an action that calls the "
            f"same code as the view."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
