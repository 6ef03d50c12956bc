"""
The rendering of all templates.

Many people read a broadcast. Without a request, it is therefore rendered in the site's
own language and time zone, and not in those of the user who saved something. With a
request, it is rendered for that request, as in a view. The exceptions of templates are
raised to the caller.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import django
from django.conf import settings
from django.http import HttpRequest
from django.template import Template as EngineTemplate
from django.template import TemplateDoesNotExist
from django.template.context import make_context
from django.template.loader import get_template, select_template
from django.utils import timezone, translation
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString

from turbo.runtime import tracing

__all__ = [
    "BackendTemplate",
    "Template",
    "load",
    "render",
    "render_text",
    "variables",
]


class BackendTemplate(Protocol):
    """A template as ``get_template()`` returns it, of any engine."""

    def render(
        self, context: dict[str, Any] | None = None, request: HttpRequest | None = None
    ) -> str:
        """Return the rendered template."""


#: A template, its name, or several names; the first one that exists is used. A name may
#: be that of a partial: ``"chat/room.html#message"``.
Template: TypeAlias = (
    str | list[str] | tuple[str, ...] | EngineTemplate | BackendTemplate
)


def render(
    template: Template,
    context: Mapping[str, Any] | None = None,
    *,
    request: HttpRequest | None = None,
) -> SafeString:
    """Return ``template`` rendered with the variables of ``context``."""
    values = variables(context)
    with _locale(request):
        if tracing.tracer is None:
            return SafeString(_render(template, values, request))
        attributes = {"turbo.template": _label(template)}
        with tracing.tracer.span("turbo.render", attributes):
            return SafeString(_render(template, values, request))


def render_text(text: Any, *, request: HttpRequest | None = None) -> SafeString:
    """Return ``text`` escaped, unless it is marked safe; translations are resolved."""
    with _locale(request):
        return conditional_escape(text)


def variables(context: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the variables of a context as a new dict."""
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise TypeError(
            f"A context is a dict of variables, not {type(context).__name__!r}. Call "
            f"flatten() to turn a template's Context into a dict."
        )
    return dict(context)


def _render(
    template: Template, values: dict[str, Any], request: HttpRequest | None
) -> str:
    if isinstance(template, EngineTemplate):
        autoescape = template.engine.autoescape
        bound = make_context(values, request, autoescape=autoescape)
        return str(template.render(bound))
    html: str = _loaded(template).render(values, request)
    return html


def _loaded(template: str | list[str] | tuple[str, ...] | BackendTemplate) -> Any:
    return load(template) if isinstance(template, str | list | tuple) else template


def load(name: str | Sequence[str]) -> BackendTemplate:
    """Return a template by its name, or the first one that exists of several names."""
    try:
        return get_template(name) if isinstance(name, str) else select_template(name)
    except TemplateDoesNotExist as error:
        names = [name] if isinstance(name, str) else name
        for problem in filter(None, map(_problem_of_partial, names)):
            tried: Any = {"tried": error.tried, "chain": error.chain}
            raise TemplateDoesNotExist(problem, **tried) from error
        raise


def _problem_of_partial(name: str) -> str:
    """Return why a partial is not found in a template that exists, or ``""``."""
    page, _, partial = name.partition("#")
    if not partial or not _exists(page):
        return ""
    # Its loader finds them, whether it is in the settings or its app puts it there.
    if django.VERSION >= (6, 0) or "template_partials.loader" in sys.modules:
        return (
            f"{name}: there is no partial {partial!r} in {page}. Write "
            f"{{% partialdef {partial} %}} there; Jinja2 has no partials."
        )
    return (
        f"{name}: Django {django.get_version()} has no partials. Use Django 6.0 or "
        f"later, or install django-template-partials and add 'template_partials' to "
        f"INSTALLED_APPS."
    )


def _exists(name: str) -> bool:
    try:
        get_template(name)
    except TemplateDoesNotExist:
        return False
    return True


def _label(template: Template) -> str:
    """Return the name of a template, for a trace."""
    if isinstance(template, str | list | tuple):
        return str(template)
    return str(getattr(template, "name", None) or type(template).__name__)


@contextmanager
def _locale(request: HttpRequest | None) -> Iterator[None]:
    if request is not None:
        yield
    elif _is_at_home():
        try:
            yield
        finally:
            if not _is_at_home():  # something in the template went elsewhere
                translation.deactivate()
                timezone.deactivate()
    else:
        zone = timezone.get_default_timezone()
        with translation.override(settings.LANGUAGE_CODE), timezone.override(zone):
            yield


def _is_at_home() -> bool:
    """Return whether the language and the time zone are the site's own already."""
    return (
        timezone.get_current_timezone() is timezone.get_default_timezone()
        and translation.get_language() == settings.LANGUAGE_CODE
    )
