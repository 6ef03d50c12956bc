"""
The extension, and the functions that it adds.

Each function calls the tag of the same name, so that both kinds of templates render the
same. The tags get a context of Django with the variables of the template. What the tags
and ``turbo/head.html`` render with a template of their own is rendered by Django's
engine, so that a project replaces such a template once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import Any

from django.template import Context, engines
from django.template.backends.django import DjangoTemplates
from django.utils.safestring import SafeString
from jinja2 import Environment, Undefined, UndefinedError, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context as JinjaContext

from turbo.exceptions import ConfigurationError
from turbo.streams.html import dom_id
from turbo.templatetags import turbo_streams as tags

__all__ = ["FUNCTIONS", "TurboExtension"]


class TurboExtension(Extension):
    """Adds the functions to an environment of Jinja2."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals.update(FUNCTIONS)


def _plain(tag: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for a tag that needs only its arguments."""

    @wraps(tag)
    def function(*args: Any, **kwargs: Any) -> Any:
        return tag(*_defined(tag, args), **_texts(kwargs))

    return function


def _with_context(
    tag: Callable[..., Any], *, template: str = ""
) -> Callable[..., SafeString]:
    """Return a function for a tag that takes the context, and may have a template."""

    @wraps(tag)
    @pass_context
    def function(context: JinjaContext, *args: Any, **kwargs: Any) -> Any:
        result = tag(_translated(context), *_defined(tag, args), **_texts(kwargs))
        return _rendered(template, result) if template else result

    return function


def _block(tag: Callable[..., SafeString]) -> Callable[..., SafeString]:
    """Return a function for a tag with content, to be used in ``{% call %}``."""

    @wraps(tag)
    @pass_context
    def function(
        context: JinjaContext,
        *args: Any,
        caller: Callable[[], str] | None = None,
        **kwargs: Any,
    ) -> SafeString:
        if context.environment.is_async:
            raise ConfigurationError(
                f"{tag.__name__}() does not work in an environment of Jinja2 with "
                f"enable_async, which Django does not use. Remove this option."
            )
        content = SafeString("" if caller is None else caller())
        return tag(content, *_defined(tag, args), **_texts(kwargs))

    return function


def _template(name: str, template: str) -> Callable[..., SafeString]:
    """Return a function for what Django's templates include."""

    @pass_context
    def function(context: JinjaContext) -> SafeString:
        variables = _variables(context)
        return _rendered(template, variables, request=variables.get("request"))

    function.__name__ = name
    return function


def _defined(tag: Callable[..., Any], values: Iterable[Any]) -> Iterator[Any]:
    """Yield the positional arguments; raise an error that names an undefined one."""
    for value in values:
        if isinstance(value, Undefined):
            raise UndefinedError(f"{tag.__name__}: {value._undefined_message}.")
        yield value


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, in which an undefined value is empty, as in Django."""
    return {
        name: str(value) if isinstance(value, Undefined) else value
        for name, value in values.items()
    }


def _translated(context: JinjaContext) -> Context:
    return Context(_variables(context), autoescape=context.eval_ctx.autoescape)


def _variables(context: JinjaContext) -> dict[str, Any]:
    """Return the variables of the page, without what all templates have."""
    known = context.environment.globals
    return {
        name: value
        for name, value in context.get_all().items()
        if name not in known or known[name] is not value
    }


def _rendered(
    template: str, variables: dict[str, Any], *, request: Any = None
) -> SafeString:
    html: Any = _engine().get_template(template).render(variables, request)
    return SafeString(html)


def _engine() -> DjangoTemplates:
    """Return the project's engine for Django's templates, or one for ours alone."""
    found = (engine for engine in engines.all() if isinstance(engine, DjangoTemplates))
    return next(found, None) or _own_engine()


@lru_cache
def _own_engine() -> DjangoTemplates:
    return DjangoTemplates(
        {"NAME": "turbo", "DIRS": [], "APP_DIRS": True, "OPTIONS": {}}
    )


#: What templates of Jinja2 can call, each with the name of its tag.
FUNCTIONS = MappingProxyType(
    {
        function.__name__: function
        for function in (
            _plain(dom_id),
            _plain(tags.turbo_cache_control),
            _plain(tags.turbo_channels_url),
            _plain(tags.turbo_disable_prefetch),
            _plain(tags.turbo_exempts_page_from_cache),
            _plain(tags.turbo_exempts_page_from_preview),
            _plain(tags.turbo_page_requires_reload),
            _plain(tags.turbo_present),
            _plain(tags.turbo_refreshes_with),
            _plain(tags.turbo_static),
            _with_context(
                tags.turbo_component,
                template="turbo/components/broadcast_component.html",
            ),
            _with_context(
                tags.turbo_progress, template="turbo/components/progress.html"
            ),
            _with_context(tags.turbo_subscribe),
            _with_context(tags.turbo_text),
            _block(tags.turbo_frame),
            _block(tags.turbo_stream),
            _template("turbo_head", "turbo/head.html"),
            _template("turbo_status", "turbo/status.html"),
        )
    }
)
