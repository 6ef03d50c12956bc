"""
A view set of Django REST framework whose reads come from a binding.

Needs the extra ``rest``::

    class ProductViewSet(BoundModelViewSet):
        binding = Products
        serializer_class = ProductSerializer
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet, ReadOnlyModelViewSet

from turbo.bindings.binding import Binding
from turbo.bindings.cache.etags import (
    ETags,
    empty,
    is_conditional,
    request_parts,
    vary,
)
from turbo.bindings.overrides import (
    is_json,
    is_neutral_locale,
    keeps,
    lists_as_ever,
    looks_at_context,
    only_declares,
    shown,
    shows_columns,
    takes_lists,
    tests_objects,
)
from turbo.bindings.rows.schema import describe_serializer
from turbo.bindings.store import State
from turbo.delivery.names import user_key
from turbo.exceptions import ConfigurationError

__all__ = ["BoundModelViewSet", "BoundReadOnlyModelViewSet"]

_describe = lru_cache(maxsize=256)(describe_serializer)


class PreconditionFailed(APIException):
    """The client's copy is out of date."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "The resource has changed."
    default_code = "precondition_failed"


#: Methods that make a response of rows; an overridden one may add something else.
_MAKING = (
    "dispatch",
    "finalize_response",
    "get_paginated_response",
    "get_renderer_context",
    "get_serializer_class",
    "get_serializer_context",
)


@dataclass
class _Reading:
    """The state of the binding for a response, and what the response depends on."""

    state: State | None = None
    #: Whether all users that may see the response get the same.
    is_alike: bool = False
    #: Whether the response shows nothing but the rows of the binding.
    shows_rows: bool = False

    @property
    def is_versioned(self) -> bool:
        """Return whether the version alone shows whether a copy is still valid."""
        return self.is_alike and self.shows_rows


class BoundReadOnlyModelViewSet(ReadOnlyModelViewSet[Any]):
    """
    Lists and retrieves rows of a binding, and responds with 304 if nothing has changed.

    The binding is used if the database would give the same response. Otherwise the
    database is used: for filters, a cursor, or anything that a project has overridden.
    If only columns of the rows are shown, a 304 costs one round trip to the store and
    no query; otherwise the response is made first, and then compared.
    """

    #: A class of bindings, or an instance of one.
    binding: ClassVar[Any] = None
    #: Whether users get different responses; if false, caches may share responses.
    per_user: ClassVar[bool] = True

    _reading: _Reading | None = None  # set by list() and retrieve()

    def get_binding(self) -> Binding:
        """Return the binding; its parameters are taken from the URL's arguments."""
        binding = self.binding
        if isinstance(binding, Binding):
            return binding
        if not (isinstance(binding, type) and issubclass(binding, Binding)):
            raise ConfigurationError(
                f"{type(self).__name__}.binding is {binding!r}, which is not a Binding."
            )
        return binding(**{name: self.kwargs[name] for name in binding.params})

    def get_queryset(self) -> QuerySet[Any]:
        """Return the binding's rows in the database, or ``queryset`` if it is set."""
        if self._has_queryset():
            return super().get_queryset()
        return self.get_binding().database_queryset()

    def get_serializer_class(self) -> Any:
        """Return the view's serializer class, or the binding's."""
        return self.serializer_class or self.get_binding().serializer_class

    def get_etag_parts(self) -> list[Any]:
        """
        Return the values, besides the binding's version, that distinguish responses.

        Extend it if the response depends on anything else, such as a header.
        """
        parts = [*request_parts(self.request), _describe(self.get_serializer_class())]
        if self.per_user:
            user = self.request.user
            rank = [getattr(user, name, None) for name in ("is_staff", "is_superuser")]
            parts += [user_key(user), *rank]
        return parts

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse a conditional write if the client has seen another state."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS and is_conditional(request):
            etags = self._etags(self.get_binding().state())
            if etags is None or not etags.permit_write(request):
                raise PreconditionFailed

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return the rows of the binding, or 304."""
        binding = self.get_binding()
        if not self._lists_from(binding):
            self._read(binding)
            queryset: Any = self.get_queryset()
            if not getattr(queryset, "ordered", True):
                queryset = binding.schema.ordering.apply(queryset)
            return self._listed(self.filter_queryset(queryset), is_kept=False)
        reading = self._reading = self._reading_of(binding, "list")
        reading.is_alike &= only_declares(type(self.paginator))
        if reading.is_versioned:
            reading.state = binding.state()
            if response := self._not_modified(reading):
                return response
        snapshot = binding.snapshot()
        reading.state = snapshot.state
        rows = list(snapshot.all().values())
        return self._listed(rows, is_kept=binding.serializer_class is not None)

    def retrieve(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return one row of the binding, or 304."""
        binding = self.get_binding()
        if not self._retrieves_from(binding):
            self._read(binding)
            return Response(self.get_serializer(self.get_object()).data)
        reading = self._reading = self._reading_of(binding, "retrieve")
        key = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        reading.state, row = binding.stamped_row(key)
        if row is None:  # only the database can say that there is no such row
            reading.state = None
            return Response(self.get_serializer(self.get_object()).data)
        self.check_object_permissions(self.request, row)
        if reading.is_versioned and (response := self._not_modified(reading)):
            return response
        is_kept = binding.serializer_class is not None
        return Response(row if is_kept else self.get_serializer(row).data)

    def finalize_response(
        self, request: Any, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Set the ETag and date; respond with 304 if the client has the response."""
        response = super().finalize_response(request, response, *args, **kwargs)
        reading = self._reading
        if reading is None or response.status_code not in (200, 304, 412):
            return response
        etags = self._etags(reading.state)
        if etags is not None and not reading.is_versioned:
            is_made_here = keeps(self, _View, "dispatch", "finalize_response")
            data = shown(response) if is_made_here else None
            etags = etags.of_content(data) if data is not None else None
            if etags is not None and etags.status(request) == 304:
                empty(response)
        if etags is not None:
            etags.mark(response)
        vary(response, per_user=self.per_user or not reading.is_alike)
        return response

    def _has_queryset(self) -> bool:
        given: Any = vars(self).get("queryset", type(self).queryset)
        return given is not None

    def _etags(self, state: State | None) -> ETags | None:
        if state is None:
            return None
        slot = self.get_binding().slot
        return ETags.of(state, [slot.group, slot.name, *self.get_etag_parts()])

    def _not_modified(self, reading: _Reading) -> Response | None:
        etags = self._etags(reading.state)
        code = etags.status(self.request) if etags else None
        return None if code is None else Response(status=code)

    def _listed(self, rows: Any, *, is_kept: bool) -> Response:
        page = self.paginate_queryset(rows)
        shown = rows if page is None else page
        data = shown if is_kept else self.get_serializer(shown, many=True).data
        return Response(data) if page is None else self.get_paginated_response(data)

    def _read(self, binding: Binding) -> None:
        """Note the state of the binding before the database is read."""
        self._reading = _Reading(binding.state() or binding.snapshot().state)

    def _reading_of(self, binding: Binding, action: str) -> _Reading:
        shown_by = self.get_serializer_class()
        is_kept = binding.serializer_class is not None
        return _Reading(
            is_alike=self.action == action
            and keeps(self, _View, action, *_MAKING)
            and is_json(self.request.accepted_renderer)
            and not looks_at_context(shown_by),
            shows_rows=is_kept or shows_columns(shown_by, binding.model),
        )

    def _lists_from(self, binding: Binding) -> bool:
        return (
            keeps(self, _View, "paginate_queryset", "paginator")
            and takes_lists(self.paginator)
            and self._serializes_from(binding)
            and self._is_unfiltered()
        )

    def _retrieves_from(self, binding: Binding) -> bool:
        meta = binding.model._meta
        # Permissions cannot check serialized values.
        has_objects = binding.serializer_class is None or (
            keeps(self, _View, "check_object_permissions")
            and not tests_objects(self.get_permissions())
        )
        return (
            has_objects
            and keeps(self, _View, "get_object")
            and len(meta.pk_fields) == 1
            and self.lookup_field in ("pk", meta.pk.name)
            and self._serializes_from(binding)
            and self._is_unfiltered()
        )

    def _serializes_from(self, binding: Binding) -> bool:
        """Return whether the binding's rows give the same output as the serializer."""
        own, asked = binding.serializer_class, self.get_serializer_class()
        if not (keeps(self, _View, "get_serializer") and lists_as_ever(asked)):
            return False
        return own is None or (
            own is asked
            and keeps(self, _View, "get_serializer_context")
            and is_json(self.request.accepted_renderer)
            and is_neutral_locale()
            and not looks_at_context(own)
        )

    def _is_unfiltered(self) -> bool:
        """Return whether no filter restricts the rows of the binding."""
        proved = (
            not self._has_queryset()
            and keeps(self, _View, "get_queryset", "filter_queryset")
            and all(map(only_declares, self.filter_backends))
        )
        if not (proved and self.filter_backends):
            return proved
        queryset = self.get_queryset()
        return self.filter_queryset(queryset) is queryset


class BoundModelViewSet(BoundReadOnlyModelViewSet, ModelViewSet[Any]):
    """A ``ModelViewSet`` that reads from the binding."""


_View = BoundReadOnlyModelViewSet
