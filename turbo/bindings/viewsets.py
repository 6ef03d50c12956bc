"""
A view set of Django REST framework whose reads come from a binding.

Needs the extra ``rest``::

    class ProductViewSet(BoundModelViewSet):
        binding = Products
        serializer_class = ProductSerializer
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import Http404
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet, ReadOnlyModelViewSet

from turbo.bindings.binding import Binding
from turbo.bindings.forms import describe_serializer
from turbo.bindings.store import State
from turbo.bindings.validators import Validators, request_parts, vary
from turbo.exceptions import ConfigurationError
from turbo.names import user_key

__all__ = ["BoundModelViewSet", "BoundReadOnlyModelViewSet"]

_describe = lru_cache(maxsize=256)(describe_serializer)


class PreconditionFailed(APIException):
    """The client's copy is not the current one."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "The resource has changed."
    default_code = "precondition_failed"


class BoundReadOnlyModelViewSet(ReadOnlyModelViewSet[Any]):
    """
    Lists and retrieves from a binding, and answers 304 where nothing has changed.

    A 304 costs one round trip to the store and no query of ours. Filters, a cursor, and
    a ``get_queryset`` of the view's own work on the database, with the version of the
    binding.
    """

    #: A class of bindings, or one of them.
    binding: ClassVar[Any] = None
    #: Whether users get different responses. If not, say so: caches may share them.
    per_user: ClassVar[bool] = True

    def get_binding(self) -> Binding:
        """Return the binding, made of the URL's arguments if it has parameters."""
        binding = self.binding
        if isinstance(binding, Binding):
            return binding
        if not (isinstance(binding, type) and issubclass(binding, Binding)):
            raise ConfigurationError(
                f"{type(self).__name__}.binding is {binding!r}, which is no Binding."
            )
        return binding(**{name: self.kwargs[name] for name in binding.params})

    def get_queryset(self) -> QuerySet[Any]:
        """Return the rows as the database has them."""
        return self.get_binding().database_queryset()

    def get_serializer_class(self) -> Any:
        """Return the view's serializer class, or the binding's."""
        return self.serializer_class or self.get_binding().serializer_class

    def get_etag_parts(self) -> list[Any]:
        """
        Return what beside the binding's version tells responses apart.

        Extend it if the response depends on anything else, a header say.
        """
        parts = [*request_parts(self.request), _describe(self.get_serializer_class())]
        if self.per_user:
            user = self.request.user
            rank = [getattr(user, name, None) for name in ("is_staff", "is_superuser")]
            parts += [user_key(user), *rank]
        return parts

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse a write whose author has seen another state."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS and _is_conditional(request):
            validators = self._validators(self.get_binding().state())
            if validators is None or validators.status(request) is not None:
                raise PreconditionFailed

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return the rows of the binding, or 304."""
        return self._conditional(self._list)

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return one row of the binding, or 304."""
        return self._conditional(self._retrieve)

    def _conditional(
        self, respond: Callable[[], tuple[State | None, Response]]
    ) -> Response:
        validators = self._validators(self.get_binding().state())
        status = validators.status(self.request) if validators else None
        if status is not None:
            response = Response(status=status)
        else:
            state, response = respond()
            validators = self._validators(state)
        if validators is not None:
            validators.mark(response)
        vary(response, per_user=self.per_user)
        return response

    def _validators(self, state: State | None) -> Validators | None:
        if state is None:
            return None
        binding = self.get_binding()
        slot = binding.slot
        return Validators.of(state, [slot.group, slot.name, *self.get_etag_parts()])

    def _list(self) -> tuple[State | None, Response]:
        state, rows, is_kept = self._rows()
        page = self.paginate_queryset(rows)
        if page is None:
            return state, Response(self._represent(rows, is_kept=is_kept))
        data = self._represent(page, is_kept=is_kept)
        return state, self.get_paginated_response(data)

    def _rows(self) -> tuple[State | None, Any, bool]:
        """Return a state, rows no older than it, and whether the binding holds them."""
        binding = self.get_binding()
        if self._is_unfiltered() and not isinstance(self.paginator, CursorPagination):
            snapshot = binding.snapshot()
            return snapshot.state, list(snapshot.all().values()), True
        state = binding.state() or binding.snapshot().state
        queryset = self.get_queryset()
        if not queryset.ordered:
            queryset = binding.form.ordering.apply(queryset)
        return state, self.filter_queryset(queryset), False

    def _retrieve(self) -> tuple[State | None, Response]:
        binding = self.get_binding()
        if self._is_unfiltered() and self.lookup_field in ("pk", _pk_name(binding)):
            key = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
            state, row = binding.stamped_row(key)
            if row is None:
                raise Http404
            self.check_object_permissions(self.request, row)
            [data] = self._represent([row], is_kept=True)
        else:
            state = binding.state() or binding.snapshot().state
            data = self.get_serializer(self.get_object()).data
        return state, Response(data)

    def _is_unfiltered(self) -> bool:
        """Return whether nobody narrows down what the binding holds."""
        if type(self).get_queryset is not BoundReadOnlyModelViewSet.get_queryset:
            return False
        queryset = self.get_queryset()
        return self.filter_queryset(queryset) is queryset

    def _represent(self, rows: Any, *, is_kept: bool) -> Any:
        own = self.get_binding().serializer_class
        if is_kept and own is not None:
            if self.get_serializer_class() is not own:
                raise ConfigurationError(
                    f"{type(self).__name__} cannot use a serializer of its own: its "
                    f"binding keeps what {own.__name__} has made."
                )
            return rows
        return self.get_serializer(rows, many=True).data


class BoundModelViewSet(BoundReadOnlyModelViewSet, ModelViewSet[Any]):
    """All that ``ModelViewSet`` does; what is read comes from the binding."""


def _pk_name(binding: Binding) -> str:
    return str(binding.model._meta.pk.name)


def _is_conditional(request: Any) -> bool:
    names = ("If-Match", "If-None-Match", "If-Unmodified-Since")
    return any(name in request.headers for name in names)
