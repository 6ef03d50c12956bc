"""System checks of the declared streams, each with an id and a hint."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist
from django.template import TemplateDoesNotExist, TemplateSyntaxError

from turbo.checks.declarations import load_urls
from turbo.checks.hooks import Replaced, check_hooks
from turbo.checks.presence import PRESENCE_HOOKS, check_presence
from turbo.components import BaseComponent
from turbo.exceptions import ConfigurationError
from turbo.streams.conventions import INSERTS, parent_field, parent_stream_class
from turbo.streams.model_streams import ModelStream, StreamDescriptor
from turbo.streams.options import Options
from turbo.streams.registry import stream_classes
from turbo.streams.rendering import load
from turbo.streams.stream import Stream

__all__ = ["check_permissions", "check_streams"]

#: What a project may define in a stream, in a component and in a model stream.
HOOKS = (
    "get_audience",
    "get_init_args",
    "get_init_kwargs",
    "user_passes_test",
    *PRESENCE_HOOKS,
)
COMPONENT_HOOKS = ("get_context", "is_live", "template_name")
MODEL_HOOKS = (
    "collection_passes_test",
    "get_broadcast_context",
    "get_broadcast_id",
    "get_broadcast_streams",
    "get_broadcast_target",
    "get_broadcast_template",
    "on_delete",
    "on_save",
)
#: The hooks that may be coroutines.
ASYNC_HOOKS = (
    "collection_passes_test",
    "get_audience",
    "user_passes_test",
    *PRESENCE_HOOKS,
)
#: Methods of turbo-django that have no effect here.
REPLACED: Replaced = {
    "broadcastable_stream_name": "Set the name with get_init_args() and Meta.",
    "compute_context": "Write get_context().",
    "get_init_args_json": "Write get_init_args(), which returns JSON values.",
    "get_init_kwargs_json": "Write get_init_kwargs(), which returns JSON values.",
}


def check_streams(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the declarations of the streams."""
    load_urls()
    streams = [cls for cls in stream_classes() if issubclass(cls, ModelStream)]
    checks = (
        _check_attribute,
        _check_parent,
        _check_inserts,
        _check_template,
        _check_unused,
    )
    found = [message for cls in streams for check in checks for message in check(cls)]
    for cls in stream_classes():
        found += _check_async(cls)
        found += _check_audiences(cls)
        found += check_presence(cls)
        found += check_hooks(cls, _hooks_of(cls), replaced=REPLACED)
    return found


def check_permissions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that every model stream has a permission test."""
    return [
        Warning(
            f"{cls.label} does not define who may see it, so everybody may.",
            hint="Define user_passes_test(self, user); return True if everybody may "
            "see it.",
            obj=cls,
            id="turbo.W007",
        )
        for cls in stream_classes()
        if issubclass(cls, ModelStream) and not cls.tests_user()
    ]


def _check_attribute(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    model, attribute = cls.options.model, cls.options.attribute
    current = inspect.getattr_static(model, attribute, None)
    if isinstance(current, StreamDescriptor):
        if current.stream_class is not cls:
            yield Error(
                f"{cls.label} and {current.stream_class.label} both use the attribute "
                f"{model._meta.label}.{attribute}.",
                hint="Give one of them another Meta.attribute.",
                obj=cls,
                id="turbo.E005",
            )
        return
    try:
        kind = type(model._meta.get_field(attribute)).__name__
    except FieldDoesNotExist:
        kind = "attribute"
    yield Error(
        f"{cls.label} cannot use the attribute {model._meta.label}.{attribute}, which "
        f"already exists ({kind}).",
        hint="Give the stream another Meta.attribute.",
        obj=cls,
        id="turbo.E006",
    )


def _check_async(cls: type[Stream]) -> Iterator[CheckMessage]:
    for name in _hooks_of(cls):
        if name not in ASYNC_HOOKS and iscoroutinefunction(getattr(cls, name, None)):
            yield Error(
                f"{cls.label}.{name}() is a coroutine, so it is not run.",
                hint="Write def, not async def; the verbs do not block.",
                obj=cls,
                id="turbo.E023",
            )


def _check_audiences(cls: type[Stream]) -> Iterator[CheckMessage]:
    if cls.get_audience is not Stream.get_audience and not cls.options.audiences:
        yield Error(
            f"{cls.label} has get_audience(), but no audiences, so all pages get the "
            f"same.",
            hint="Declare them in Meta.audiences. A Meta inherits them only if it is "
            "declared as class Meta(Base.Meta).",
            obj=cls,
            id="turbo.E024",
        )


def _check_parent(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    model, name = cls.options.model, cls.options.broadcasts_to
    if not name or cls.finds_streams_itself():
        return
    try:
        field = parent_field(model, name)
    except ConfigurationError as error:
        yield Error(
            f"{cls.label}.Meta.broadcasts_to is {name!r}. {error}",
            hint="Set it to a foreign key, or define get_broadcast_streams(self).",
            obj=cls,
            id="turbo.E010",
        )
        return
    if isinstance(field.related_model, str):
        return  # the model is abstract; each of its children has a field of its own
    try:
        parent_stream_class(field)
    except ConfigurationError as error:
        yield Error(
            f"{cls.label}.Meta.broadcasts_to is {name!r}. {error}",
            hint="Declare a ModelStream for that model in a streams.py.",
            obj=cls,
            id="turbo.E011",
        )


def _check_inserts(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    if cls.options.inserts_by not in INSERTS:
        yield Error(
            f"{cls.label}.Meta.inserts_by is {cls.options.inserts_by!r}.",
            hint=f"Use one of {', '.join(map(repr, INSERTS))}.",
            obj=cls,
            id="turbo.E012",
        )


def _check_template(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    own = cls.get_broadcast_template is not ModelStream.get_broadcast_template
    if own or cls.options.refreshes or not cls.broadcasts():
        return
    if cls.options.model._meta.abstract:
        return  # each child of the model has its own template
    name = str(cls.from_instance(cls.options.model()).get_broadcast_template())
    try:
        load(name)
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        problem = f"{type(error).__name__}: {error}"
        yield Error(
            f"{cls.label} broadcasts {name!r}, which cannot be loaded. {problem}",
            hint="Create this template, or set Meta.template to another one.",
            obj=cls,
            id="turbo.E013",
        )


def _check_unused(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    if cls.broadcasts() and not cls.options.refreshes:
        return
    defaults = Options()
    for name in ("template", "target", "inserts_by"):
        if getattr(cls.options, name) != getattr(defaults, name):
            yield Warning(
                f"{cls.label}.Meta.{name} has no effect, because nothing is inserted.",
                hint="Set Meta.broadcasts_to, without Meta.refreshes.",
                obj=cls,
                id="turbo.W014",
            )


def _hooks_of(cls: type[Stream]) -> tuple[str, ...]:
    if issubclass(cls, ModelStream):
        return HOOKS + MODEL_HOOKS
    return HOOKS + COMPONENT_HOOKS if issubclass(cls, BaseComponent) else HOOKS
