"""Consumers for the objects of a model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import Http404
from django.utils.datastructures import MultiValueDictKeyError
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from turbo.exceptions import ConfigurationError
from turbo.observers.asking_in_turn import ask_now
from turbo.observers.connection.after_reply import current_call
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.pagination import WebsocketLimitOffsetPagination
from turbo.observers.wire.requests import http_request

__all__ = ["GenericAsyncAPIConsumer"]

#: The paginator of the list that is being made; lists may be made at the same time.
_paginator: ContextVar[Any] = ContextVar("turbo_paginator", default=None)


class GenericAsyncAPIConsumer(AsyncAPIConsumer):
    """
    A consumer for the objects in ``queryset``, serialized by ``serializer_class``.

    ``lookup_field`` is the field by which objects are looked up, ``lookup_url_kwarg``
    the key of the message that has its value (by default they are the same).
    ``filter_backends`` and ``pagination_class`` are those of Django REST framework.
    """

    queryset: Any = None
    serializer_class: Any = None
    lookup_field: str = "pk"
    lookup_url_kwarg: str | None = None
    filter_backends: Sequence[Any] = ()
    pagination_class: Any = None

    def get_queryset(self, **kwargs: Any) -> QuerySet[Any]:
        """Return the objects of this consumer; override it to restrict them by user."""
        if self.queryset is None:
            raise ConfigurationError(
                f"{type(self).__qualname__} needs a queryset: set it, or override "
                f"get_queryset()."
            )
        queryset: QuerySet[Any] = self.queryset.all()
        return queryset

    def filter_queryset(self, queryset: QuerySet[Any], **kwargs: Any) -> QuerySet[Any]:
        """Return the objects that the message asks for, using ``filter_backends``."""
        if self.filter_backends:
            action = kwargs.get("action", "retrieve")
            request = http_request(self.scope, action, kwargs)
            for backend in self.filter_backends:
                queryset = _filter(backend(), request, queryset, self)
        return queryset

    def get_object(self, **kwargs: Any) -> Any:
        """Return the object that the message names, if the client may see it."""
        key = self.lookup_url_kwarg or self.lookup_field
        if key not in kwargs:
            raise ValidationError({key: ["This field is required."]})
        queryset = self.filter_queryset(self.get_queryset(**kwargs), **kwargs)
        instance = _find(queryset, self.lookup_field, kwargs[key])
        self.check_object_permissions(instance, **kwargs)
        return instance

    def check_object_permissions(
        self, obj: Any, action: str | None = None, **kwargs: Any
    ) -> None:
        """
        Raise ``PermissionDenied`` unless the client may do this with ``obj``.

        The default for ``action`` is the current action.
        """
        if action is None:
            call = current_call()
            action = "retrieve" if call is None else call.action
        for permission in self.permissions_now(action, **kwargs):
            asked = permission.has_object_permission
            if permission.asks_objects() and not ask_now(
                asked, self.scope, self, action, obj, **kwargs
            ):
                raise PermissionDenied(permission.message)

    def asks_itself(self) -> bool:
        """Return whether the class checks permissions with methods of its own."""
        own = type(self).check_object_permissions
        base = GenericAsyncAPIConsumer.check_object_permissions
        return super().asks_itself() or own is not base

    def get_serializer(
        self,
        action_kwargs: Mapping[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return the serializer for an object, for several, or for a client's data."""
        action_kwargs = action_kwargs or {}
        kwargs.setdefault("context", self.get_serializer_context(**action_kwargs))
        return self.get_serializer_class(**action_kwargs)(*args, **kwargs)

    def get_serializer_class(self, **kwargs: Any) -> Any:
        """Return the class of the serializer; override it to choose by user."""
        if self.serializer_class is None:
            raise ConfigurationError(
                f"{type(self).__qualname__} needs a serializer: set serializer_class, "
                f"or override get_serializer_class()."
            )
        return self.serializer_class

    def get_serializer_context(self, **kwargs: Any) -> dict[str, Any]:
        """Return the context for serializers: the scope and the consumer."""
        return {"scope": self.scope, "consumer": self}

    def get_audience(self) -> Hashable:
        """
        Return a value that is equal for clients that see the same objects.

        It is called if objects or their serialization may depend on the user: the class
        overrides methods for them, or a filter backend or a serializer uses the client.
        By default each connection is then served separately. For one query per change
        and team of users::

            def get_audience(self):
                return self.scope["user"].team_id
        """
        return id(self)

    def list_data(self, **kwargs: Any) -> Any:
        """Return the objects that the message asks for, or a page of them."""
        queryset = self.filter_queryset(self.get_queryset(**kwargs), **kwargs)
        token = _paginator.set(self.pagination_class and self.pagination_class())
        try:
            page = self.paginate_queryset(queryset, **kwargs)
            if page is None:
                return self._many(queryset, kwargs)
            return self.get_paginated_response(self._many(page, kwargs))
        finally:
            _paginator.reset(token)

    @property
    def paginator(self) -> Any:
        """Return the paginator of the list that is being made, or ``None``."""
        return _paginator.get()

    def paginate_queryset(self, queryset: QuerySet[Any], **kwargs: Any) -> Any:
        """Return the page that the message asks for, or ``None`` for all objects."""
        paginator = self.paginator
        if paginator is None:
            return None
        if isinstance(paginator, WebsocketLimitOffsetPagination):
            return paginator.paginate_queryset(
                queryset, self.scope, view=self, **kwargs
            )
        request = http_request(self.scope, "list", kwargs)
        return paginator.paginate_queryset(queryset, request, view=self)

    def get_paginated_response(self, data: Any) -> Any:
        """Return the answer with the serialized objects of a page."""
        answer = self.paginator.get_paginated_response(data)
        return answer.data if isinstance(answer, Response) else answer

    def _many(self, objects: Any, kwargs: Mapping[str, Any]) -> Any:
        serializer = self.get_serializer(
            instance=objects, many=True, action_kwargs=kwargs
        )
        return serializer.data


def _filter(
    backend: Any, request: Any, queryset: QuerySet[Any], consumer: Any
) -> QuerySet[Any]:
    """Apply a filter; raise ``ValidationError`` for values that it cannot use."""
    try:
        filtered: QuerySet[Any] = backend.filter_queryset(request, queryset, consumer)
    except MultiValueDictKeyError as error:
        missing = str(error.args[0])
        raise ValidationError({missing: ["This field is required."]}) from None
    except (OverflowError, ValueError):
        raise ValidationError({"query": ["A value is of the wrong type."]}) from None
    return filtered


def _find(queryset: QuerySet[Any], field: str, value: Any) -> Model:
    if isinstance(value, list) and field == "pk":
        value = tuple(value)  # a composite primary key
    if isinstance(value, bool):
        raise Http404
    try:
        instance: Model = queryset.get(**{field: value})
    except (
        queryset.model.DoesNotExist,
        DataError,
        DjangoValidationError,
        OverflowError,
        TypeError,
        ValueError,
    ):
        raise Http404 from None
    return instance
