"""Consumers of a model: a queryset, a serializer, and how an object is looked up."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import Http404
from django.utils.datastructures import MultiValueDictKeyError
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from turbo.exceptions import ConfigurationError
from turbo.observers.asking import ask_now
from turbo.observers.connection.after_reply import current_call
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.wire.requests import http_request

__all__ = ["GenericAsyncAPIConsumer"]


class GenericAsyncAPIConsumer(AsyncAPIConsumer):
    """
    A consumer of the objects in ``queryset``, as ``serializer_class`` shows them.

    ``lookup_field`` names the field that finds an object, ``lookup_url_kwarg`` the key
    of the message that holds its value (by default they are the same).
    ``filter_backends`` and ``pagination_class`` are those of DRF.
    """

    queryset: Any = None
    serializer_class: Any = None
    lookup_field: str = "pk"
    lookup_url_kwarg: str | None = None
    filter_backends: Sequence[Any] = ()
    pagination_class: Any = None

    def get_queryset(self, **kwargs: Any) -> QuerySet[Any]:
        """Return the objects of this consumer; override it to choose by user."""
        if self.queryset is None:
            raise ConfigurationError(
                f"{type(self).__qualname__} needs a queryset: set it, or override "
                f"get_queryset()."
            )
        queryset: QuerySet[Any] = self.queryset.all()
        return queryset

    def filter_queryset(self, queryset: QuerySet[Any], **kwargs: Any) -> QuerySet[Any]:
        """Return those objects that the message asks for, by ``filter_backends``."""
        if self.filter_backends:
            action = kwargs.get("action", "retrieve")
            request = http_request(self.scope, action, kwargs)
            for backend in self.filter_backends:
                queryset = _filter(backend(), request, queryset, self)
        return queryset

    def get_object(self, **kwargs: Any) -> Any:
        """Return the object that the message names, if the client may have it."""
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

        The ``action`` is by default the one that runs.
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
        """Return whether permissions are asked in a way of the class's own."""
        own = type(self).check_object_permissions
        base = GenericAsyncAPIConsumer.check_object_permissions
        return super().asks_itself() or own is not base

    def get_serializer(
        self,
        action_kwargs: Mapping[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return the serializer of an object, of many, or of a client's data."""
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
        """Return what serializers may look at: the scope and the consumer."""
        return {"scope": self.scope, "consumer": self}

    def get_audience(self) -> Hashable:
        """
        Return what clients have in common who see objects alike.

        Consulted where objects or their serialisation may depend on the user: the
        class has methods of its own for them, or a filter backend or a serializer looks
        for the client. By default each connection is then served for itself. For one
        query per change and group of the user's::

            def get_audience(self):
                return self.scope["user"].team_id
        """
        return id(self)

    def list_data(self, **kwargs: Any) -> Any:
        """Return the objects that the message asks for, or a page of them."""
        queryset = self.filter_queryset(self.get_queryset(**kwargs), **kwargs)
        if self.pagination_class is None:
            return self._many(queryset, kwargs)
        paginator = self.pagination_class()
        request = http_request(self.scope, "list", kwargs)
        page = paginator.paginate_queryset(queryset, request, view=self)
        if page is None:
            return self._many(queryset, kwargs)
        answer = paginator.get_paginated_response(self._many(page, kwargs))
        return answer.data if isinstance(answer, Response) else answer

    def _many(self, objects: Any, kwargs: Mapping[str, Any]) -> Any:
        serializer = self.get_serializer(
            instance=objects, many=True, action_kwargs=kwargs
        )
        return serializer.data


def _filter(
    backend: Any, request: Any, queryset: QuerySet[Any], consumer: Any
) -> QuerySet[Any]:
    """Apply a filter; values that it cannot use are the client's mistake."""
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
        value = tuple(value)  # of several columns
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
