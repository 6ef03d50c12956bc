"""
Find out what a project has overridden in a view set.

A view set reads from a binding only if the database would give the same response. It
compares versions only if the response depends on nothing but the rows. Code of the
project may break both conditions, so where it is involved the database is used, or the
response is made and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist
from django.utils import timezone, translation
from rest_framework import fields, relations
from rest_framework.pagination import LimitOffsetPagination, PageNumberPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer

from turbo.runtime.code import names_in_code

__all__ = [
    "is_json",
    "is_neutral_locale",
    "keeps",
    "lists_as_ever",
    "looks_at_context",
    "only_declares",
    "shown",
    "shows_columns",
    "takes_lists",
    "tests_objects",
]

#: Methods of a serializer for input, which do not affect its output.
_OF_INPUT = frozenset(
    {"create", "is_valid", "run_validation", "save", "to_internal_value", "update"}
)
#: Attributes that Python adds to a class.
_OF_PYTHON = frozenset({"__annotate__", "__annotate_func__", "__dict__", "__weakref__"})
#: Packages whose classes do not count as code of the project.
_FOREIGN = frozenset({"builtins", "rest_framework", "typing"})
#: Fields that depend on nothing but a column's value.
_PLAIN_FIELDS = frozenset(
    {
        getattr(fields, "BigIntegerField", fields.IntegerField),
        fields.BooleanField,
        fields.CharField,
        fields.ChoiceField,
        fields.DateField,
        fields.DateTimeField,
        fields.DecimalField,
        fields.DurationField,
        fields.EmailField,
        fields.FloatField,
        fields.IPAddressField,
        fields.IntegerField,
        fields.JSONField,
        fields.ReadOnlyField,
        fields.RegexField,
        fields.SlugField,
        fields.TimeField,
        fields.URLField,
        fields.UUIDField,
        relations.PrimaryKeyRelatedField,
    }
)
#: Fields of Django REST framework that build URLs from the request.
_LOOK_AT_REQUEST = (fields.FileField, relations.HyperlinkedRelatedField)


def keeps(owner: Any, base: type, *names: str) -> bool:
    """Return whether an object has these attributes unchanged from ``base``."""
    return all(
        name not in vars(owner) and getattr(type(owner), name) is getattr(base, name)
        for name in names
    )


def only_declares(cls: type) -> bool:
    """Return whether a subclass only sets values, and has no code of its own."""
    return not any(_deeds(cls))


def takes_lists(paginator: Any) -> bool:
    """Return whether a paginator makes the same pages of a list as of a queryset."""
    if paginator is None:
        return True
    bases: dict[type, str] = {
        PageNumberPagination: "django_paginator_class",
        LimitOffsetPagination: "get_count",
    }
    return any(
        isinstance(paginator, base)
        and keeps(paginator, base, "paginate_queryset", name)
        for base, name in bases.items()
    )


def tests_objects(permissions: Iterable[Any]) -> bool:
    """Return whether a permission checks objects."""
    return any(
        getattr(type(permission), "has_object_permission", None)
        is not BasePermission.has_object_permission
        for permission in permissions
    )


def is_json(renderer: Any) -> bool:
    """Return whether a renderer writes nothing but the data as JSON."""
    return isinstance(renderer, JSONRenderer) and keeps(
        renderer, JSONRenderer, "render", "get_indent"
    )


def is_neutral_locale() -> bool:
    """Return whether language and time zone are those of the settings."""
    zone = timezone.get_current_timezone_name()
    is_default = zone == timezone.get_default_timezone_name()
    return is_default and translation.get_language() == settings.LANGUAGE_CODE


def lists_as_ever(serializer_class: Any) -> bool:
    """Return whether a serializer lists rows in the default way, one by one."""
    meta = getattr(serializer_class, "Meta", None)
    own = any("many_init" in vars(base) for base in _own_classes(serializer_class))
    return not own and getattr(meta, "list_serializer_class", None) is None


def shown(response: Any) -> Any:
    """Return the content of a response to compare, or ``None`` to compare nothing."""
    renderer: Any = getattr(response, "accepted_renderer", None)
    is_own = response.has_header("ETag") or getattr(response, "is_rendered", True)
    if is_own or response.status_code != 200 or renderer.media_type == "text/html":
        return None
    if is_json(renderer):
        return response.data
    return bytes(response.rendered_content).decode("latin-1")


@lru_cache(maxsize=256)
def shows_columns(serializer_class: Any, model: Any) -> bool:
    """Return whether a serializer shows nothing but columns of ``model``."""
    if not lists_as_ever(serializer_class):
        return False
    deeds = set(_deeds(serializer_class)) - _OF_INPUT - {"Meta"}
    if any(name.partition("_")[0] != "validate" for name in deeds):
        return False
    shown = [f for f in serializer_class().fields.values() if not f.write_only]
    return all(_is_column(field, model) for field in shown)


@lru_cache(maxsize=256)
def looks_at_context(serializer_class: Any) -> bool:
    """Return whether a serializer, or a part of it, may use its context."""
    return any(
        issubclass(type(part), _LOOK_AT_REQUEST)
        or any(
            "context" in name
            for base in _own_classes(type(part))
            for value in vars(base).values()
            for name in names_in_code(value)
        )
        for part in _parts(serializer_class())
    )


def _own_classes(cls: type) -> Iterator[type]:
    """Yield those bases of a class that a project has written."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in _FOREIGN:
            yield base


def _deeds(cls: type) -> Iterator[str]:
    """Yield the names of a project's own methods, descriptors and classes."""
    for base in _own_classes(cls):
        for name, value in vars(base).items():
            is_deed = callable(value) or hasattr(value, "__get__")
            if is_deed and name not in _OF_PYTHON:
                yield name


def _is_column(field: Any, model: Any) -> bool:
    if type(field) not in _PLAIN_FIELDS or len(field.source_attrs) != 1:
        return False
    if getattr(field, "pk_field", None) is not None:
        return False
    source = field.source_attrs[0]
    if source == "pk":
        return len(model._meta.pk_fields) == 1 and not model._meta.pk.is_relation
    try:
        column = model._meta.get_field(source)
    except FieldDoesNotExist:
        return False
    is_key = isinstance(field, relations.PrimaryKeyRelatedField)
    return bool(column.concrete and not column.many_to_many) and (
        bool(column.is_relation) == is_key
    )


def _parts(part: Any) -> Iterator[Any]:
    yield part
    for name in ("child", "child_relation"):
        if (inner := getattr(part, name, None)) is not None:
            yield from _parts(inner)
    inner_fields = getattr(part, "fields", None)
    if isinstance(inner_fields, Mapping):
        for field in inner_fields.values():
            yield from _parts(field)
