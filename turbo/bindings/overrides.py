"""
What a view set does that Django REST framework would not.

A binding answers only where the database would answer the same, and its version says
that a copy is still good only where nothing but the rows makes the response. What a
project has written itself proves neither: the database is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist
from django.utils import timezone, translation
from rest_framework import fields, relations
from rest_framework.pagination import LimitOffsetPagination, PageNumberPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer

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

#: What a serializer may say of what it is given: nothing of that is ever shown.
_OF_INPUT = frozenset(
    {"create", "is_valid", "run_validation", "save", "to_internal_value", "update"}
)
#: What Python makes of a class.
_OF_PYTHON = frozenset({"__annotate__", "__annotate_func__", "__dict__", "__weakref__"})
#: Packages whose classes are known.
_FOREIGN = frozenset({"builtins", "rest_framework", "typing"})
#: Fields that show a column's value and look at nothing else.
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
#: Fields of Django REST framework whose URLs begin as the request's does.
_LOOK_AT_REQUEST = (fields.FileField, relations.HyperlinkedRelatedField)


def keeps(owner: Any, base: type, *names: str) -> bool:
    """Return whether an object has these attributes as ``base`` has them."""
    return all(
        name not in vars(owner) and getattr(type(owner), name) is getattr(base, name)
        for name in names
    )


def only_declares(cls: type) -> bool:
    """Return whether a subclass of the framework's sets values, and does nothing."""
    return not any(_deeds(cls))


def takes_lists(paginator: Any) -> bool:
    """Return whether a paginator, if there is one, makes the same of a list of rows."""
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
    """Return whether some permission looks at the object."""
    return any(
        getattr(type(permission), "has_object_permission", None)
        is not BasePermission.has_object_permission
        for permission in permissions
    )


def is_json(renderer: Any) -> bool:
    """Return whether a renderer writes the data, and nothing else."""
    return isinstance(renderer, JSONRenderer) and keeps(
        renderer, JSONRenderer, "render", "get_indent"
    )


def is_neutral_locale() -> bool:
    """Return whether language and time zone are those of the settings."""
    zone = timezone.get_current_timezone_name()
    is_default = zone == timezone.get_default_timezone_name()
    return is_default and translation.get_language() == settings.LANGUAGE_CODE


def lists_as_ever(serializer_class: Any) -> bool:
    """Return whether rows are serialised one by one, whatever they come in."""
    meta = getattr(serializer_class, "Meta", None)
    own = any("many_init" in vars(base) for base in _own_classes(serializer_class))
    return not own and getattr(meta, "list_serializer_class", None) is None


def shown(response: Any) -> Any:
    """Return what a response shows; ``None`` where that is not to be compared."""
    renderer: Any = getattr(response, "accepted_renderer", None)
    is_own = response.has_header("ETag") or getattr(response, "is_rendered", True)
    if is_own or response.status_code != 200 or renderer.media_type == "text/html":
        return None
    if is_json(renderer):
        return response.data
    return bytes(response.rendered_content).decode("latin-1")


@lru_cache(maxsize=256)
def shows_columns(serializer_class: Any, model: Any) -> bool:
    """Return whether a serializer shows columns of ``model``, and nothing besides."""
    if not lists_as_ever(serializer_class):
        return False
    deeds = set(_deeds(serializer_class)) - _OF_INPUT - {"Meta"}
    if any(name.partition("_")[0] != "validate" for name in deeds):
        return False
    shown = [f for f in serializer_class().fields.values() if not f.write_only]
    return all(_is_column(field, model) for field in shown)


@lru_cache(maxsize=256)
def looks_at_context(serializer_class: Any) -> bool:
    """Return whether a serializer, or a part of it, mentions its context."""
    return any(
        issubclass(type(part), _LOOK_AT_REQUEST)
        or any(
            "context" in name
            for base in _own_classes(type(part))
            for value in vars(base).values()
            for name in _names(value)
        )
        for part in _parts(serializer_class())
    )


def _own_classes(cls: type) -> Iterator[type]:
    """Yield what of a class is neither Python's nor the framework's."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in _FOREIGN:
            yield base


def _deeds(cls: type) -> Iterator[str]:
    """Yield the names of methods, descriptors and classes that are a project's own."""
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


def _names(value: Any) -> Iterator[str]:
    """Yield the names, and the texts, in the code of a function or a descriptor."""
    for name in ("__func__", "fget", "func", "__wrapped__"):
        if inspect.getattr_static(value, name, None) is not None:
            yield from _names(getattr(value, name))
    code = getattr(value, "__code__", value)
    if not isinstance(code, CodeType):
        return
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _names(constant)
