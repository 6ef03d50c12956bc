"""
``{% load turbo_streams %}``: the tags for pages and for stream templates.

Write attributes with underscores for hyphens: ``data_turbo_action="advance"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlencode

from django import template
from django.db.models import Model
from django.http import HttpRequest
from django.template import (
    Context,
    Node,
    TemplateSyntaxError,
    VariableDoesNotExist,
    context_processors,
)
from django.template.base import FilterExpression, Parser, Token
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString, mark_safe

from turbo.components import BaseComponent
from turbo.conf import get_settings
from turbo.connections.missing_client import expect_client
from turbo.delivery.broadcast import moment
from turbo.delivery.names import user_key
from turbo.exceptions import UnknownStreamError
from turbo.http.addresses import below_prefix
from turbo.http.caching import keep_private, warn_in_fragment
from turbo.http.client_files import client_file
from turbo.http.page_start import since_of
from turbo.http.page_user import user_of
from turbo.runtime.context import current_since
from turbo.streams import growing_html, html
from turbo.streams.registry import resolve, stream_class
from turbo.streams.stream import Stream
from turbo.streams.text_sender import read_text

__all__ = ["register"]

register = template.Library()


class _Argument:
    """
    A positional argument of a tag.

    Django passes an empty text for an undefined variable, so the tag itself could not
    say which variable it is.
    """

    def __init__(self, tag: str, expression: FilterExpression, *, takes_none: bool):
        self.tag = tag
        self.expression = expression
        self.takes_none = takes_none

    def resolve(self, context: Context) -> Any:
        """Return the value; raise an error that names an undefined variable."""
        value = self.expression.resolve(context)
        if value is None and not self.takes_none:
            raise TemplateSyntaxError(f"{self.tag}: {self.expression.token} is None.")
        assert context.template is not None, "tags are rendered in a template"
        stand_in = context.template.engine.string_if_invalid
        # A filter may have given it a value, but not if there is a stand-in.
        # isinstance() would load a lazy object, such as the user.
        if issubclass(type(value), str) and (not value or stand_in):
            self._require_variable(context)
        return value

    def _require_variable(self, context: Context) -> None:
        try:
            if self.expression.is_var:
                self.expression.var.resolve(context)
        except VariableDoesNotExist as error:
            message = f"{self.tag}: {self.expression.token} is not defined."
            raise TemplateSyntaxError(message) from error


def _examine(tag: str, *, takes_none: bool = True) -> None:
    """Let the errors of a tag name the variables in its positional arguments."""
    make_node = register.tags[tag]

    def compile_tag(parser: Parser, token: Token) -> Node:
        node: Any = make_node(parser, token)
        node.args = [_Argument(tag, it, takes_none=takes_none) for it in node.args]
        return cast(Node, node)

    register.tags[tag] = compile_tag


@register.simple_tag(takes_context=True)
def turbo_subscribe(
    context: Context, *streams: Any, transport: str = "websocket"
) -> SafeString:
    """
    Subscribe the page to streams.

    ``{% turbo_subscribe room "chat:Announcements" %}`` takes model instances, names,
    streams and stream classes, and renders for each::

        <turbo-channels-stream-source signed-stream-name="…" since="@…">\
</turbo-channels-stream-source>

    With ``transport="sse"`` Turbo's own element reads server-sent events instead. The
    name is bound to the user for whom the page is rendered, if one is logged in.
    """
    _choose("transport", transport, ("websocket", "sse"))
    if not streams:
        raise TemplateSyntaxError("turbo_subscribe needs at least one stream.")
    return mark_safe("".join(_source(context, item, transport) for item in streams))


def _source(context: Context, item: Any, transport: str) -> SafeString:
    try:
        stream = resolve(item)
    except UnknownStreamError as error:
        raise TemplateSyntaxError(f"turbo_subscribe: {error}") from error
    request = _request(context)
    since = _since(request)
    user = user_of(request)
    if user_key(user) is not None or stream.options.audiences:
        keep_private(request)
        warn_in_fragment()
    signed = stream.sign(user, since=since)
    expect_client(request, signed)
    whispers = stream.options.whispers
    sid = stream.stream_id if whispers else None
    script = _module(context, "whispers.js") if whispers else SafeString("")
    if transport == "websocket":
        return html.source(signed, since, sid) + script
    query = urlencode({"stream": signed, "since": since})
    return html.event_source(f"{_event_stream_path()}?{query}", sid) + script


def _request(context: Context) -> HttpRequest | None:
    # A RequestContext has its request even without the context processor.
    request: HttpRequest | None = getattr(context, "request", None)
    return request if request is not None else context.get("request")


def _since(request: HttpRequest | None) -> str:
    # Without a request from Django, now is the earliest moment known.
    details = getattr(request, "turbo", None)
    noted: str = since_of(request) if details is None else details.since
    return noted or current_since() or moment()


def _event_stream_path() -> str:
    try:
        return reverse("turbo:sse")
    except NoReverseMatch:
        return below_prefix(get_settings().sse_path)


def _choose(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TemplateSyntaxError(
            f"{option}={value!r} is not one of {', '.join(map(repr, allowed))}."
        )


@register.simple_tag
def turbo_present(stream: Any) -> Sequence[Any]:
    """
    Return the users whose pages show a stream with ``Meta.presence = True``.

    ``{% turbo_present room as people %}`` takes what ``turbo_subscribe`` takes. The
    users are in the order of joining, and come with one query.
    """
    try:
        return resolve(stream).present_users()
    except UnknownStreamError as error:
        raise TemplateSyntaxError(f"turbo_present: {error}") from error


@register.inclusion_tag("turbo/components/broadcast_component.html", takes_context=True)
def turbo_component(
    context: Context, component: Any, *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """
    Show a component, and keep it up to date.

    ``{% turbo_component "chat:AnnouncementBanner" %}`` renders the subscription and a
    container for the component's template::

        <turbo-channels-stream-source …></turbo-channels-stream-source>
        <div class="chat:AnnouncementBanner" id="chat:AnnouncementBanner">…</div>

    Further arguments are those of the component:
    ``{% turbo_component "shop:CartCount" request.user %}``.
    """
    request = _request(context)
    user_of(request)  # read it now, because the component may need its key
    if isinstance(component, str):
        component = _stream_class("turbo_component", component)(*args, **kwargs)
    if not isinstance(component, BaseComponent):
        raise TemplateSyntaxError(f"turbo_component: {component!r} is not a component.")
    variables: dict[str, Any] = context.flatten()  # type: ignore[assignment]
    return {
        "component": component,
        "initial_render": component.initial_render(variables, request=request),
        # The subscription inside is bound to the user of this request.
        "request": request,
        "csp_nonce": context.get("csp_nonce"),
    }


@register.simple_tag(takes_context=True)
def turbo_text(
    context: Context, stream: Any, id: Any, *, tag: str = "div", **attributes: Any
) -> SafeString:
    """
    Show a text that grows, with what has been written so far.

    ``{% turbo_text room "answer-7" %}`` renders, for a page that subscribes to the
    room::

        <script type="module" src="/static/turbo/text.min.js"></script>
        <div id="answer-7" data-turbo-text="z7r3…" data-run="17" data-at="5"
          data-state="writing" aria-live="polite" aria-busy="true">Hello</div>

    ``tag="span"`` names another element; other arguments become attributes.
    """
    found, id = _growing("turbo_text", stream, id)
    return _module(context, "text.js") + growing_html.text_tag(
        id,
        found.stream_id,
        read_text(found.stream_id, id),
        tag=tag,
        attributes=_hyphenated(attributes),
    )


@register.inclusion_tag("turbo/components/progress.html", takes_context=True)
def turbo_progress(
    context: Context, stream: Any, id: Any, *, label: Any = None
) -> dict[str, Any]:
    """
    Show the progress of a job, with what is known of it.

    ``{% turbo_progress job "import-3" label="Import" %}`` renders the template
    ``turbo/components/progress.html``, which you can override.
    """
    found, id = _growing("turbo_progress", stream, id)
    written = read_text(found.stream_id, id)
    return {
        "module": _module(context, "text.js"),
        "id": id,
        "label": label,
        "place": growing_html.progress_place(id, found.stream_id, written),
        **growing_html.progress_values(written),
    }


def _growing(tag: str, stream: Any, id: Any) -> tuple[Stream, str]:
    """Return the stream and the id of something that grows."""
    try:
        return resolve(stream), _dom_id(id)
    except UnknownStreamError as error:
        raise TemplateSyntaxError(f"{tag}: {error}") from error


def _stream_class(tag: str, name: str) -> type[Stream]:
    try:
        return stream_class(name)
    except UnknownStreamError as error:
        raise TemplateSyntaxError(f"{tag}: {error}") from error


@register.simple_block_tag(end_name="endturbo_frame")
def turbo_frame(
    content: SafeString,
    id: Any,
    prefix: str | None = None,
    *,
    src: Any = None,
    loading: str | None = None,
    target: str | None = None,
    **attributes: Any,
) -> SafeString:
    """
    Wrap a part of the page that loads and submits by itself.

    ``{% turbo_frame "tray" src=url loading="lazy" %}…{% endturbo_frame %}`` renders::

        <turbo-frame id="tray" src="/trays/1/" loading="lazy">…</turbo-frame>

    ``{% turbo_frame room "edit" %}`` takes its id from
    :func:`~turbo.streams.html.dom_id`. If ``src`` is an object, its
    ``get_absolute_url()`` is used.
    """
    if id in (None, ""):
        raise TemplateSyntaxError(
            "turbo_frame needs an id, or an object to make it from."
        )
    return html.turbo_frame(
        _dom_id(id, prefix),
        content,
        src=src.get_absolute_url() if hasattr(src, "get_absolute_url") else src,
        loading=loading,
        target=target,
        attributes=_hyphenated(attributes),
    )


@register.simple_block_tag(end_name="endturbo_stream")
def turbo_stream(
    content: SafeString,
    action: str,
    target: Any = None,
    *,
    selector: str | None = None,
    **attributes: Any,
) -> SafeString:
    """
    Wrap content with a stream action for the page.

    ``{% turbo_stream "append" "messages" %}…{% endturbo_stream %}`` renders::

        <turbo-stream action="append" target="messages"><template>…</template>\
</turbo-stream>

    The target is an id, or an object, which stands for its
    :func:`~turbo.streams.html.dom_id`. ``selector=".message"`` acts on all elements
    that match.
    """
    empty = not content.strip()
    if not empty and action in html.CONTENTLESS:
        raise TemplateSyntaxError(f"turbo_stream {action!r} takes no content.")
    return html.element(
        action,
        target=None if target is None else _dom_id(target),
        targets=selector,
        content=None if empty and action not in _WITH_CONTENT else content,
        attributes=_hyphenated(attributes),
    )


_WITH_CONTENT = html.TARGETED - html.CONTENTLESS


def _dom_id(value: Any, prefix: str | None = None) -> str:
    if isinstance(value, Model | type):
        return html.dom_id(value, prefix)
    if prefix is not None:
        raise TemplateSyntaxError(f"{value!r} is an id already and takes no prefix.")
    return str(value)


def _hyphenated(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in attributes.items()}


register.simple_tag(html.dom_id, name="dom_id")


@register.simple_tag
def turbo_refreshes_with(method: str = "replace", scroll: str = "reset") -> SafeString:
    """
    Set how page refreshes update the page; use it in the ``<head>``.

    ``{% turbo_refreshes_with method="morph" scroll="preserve" %}`` renders::

        <meta name="turbo-refresh-method" content="morph">\
<meta name="turbo-refresh-scroll" content="preserve">
    """
    _choose("method", method, ("replace", "morph"))
    _choose("scroll", scroll, ("reset", "preserve"))
    return mark_safe(
        html.meta("turbo-refresh-method", method)
        + html.meta("turbo-refresh-scroll", scroll)
    )


@register.simple_tag
def turbo_cache_control(content: str) -> SafeString:
    """
    Set how Turbo may cache the page; use it in the ``<head>``.

    ``{% turbo_cache_control "no-preview" %}`` renders
    ``<meta name="turbo-cache-control" content="no-preview">``.
    """
    _choose("content", content, ("no-cache", "no-preview"))
    return html.meta("turbo-cache-control", content)


@register.simple_tag
def turbo_exempts_page_from_cache() -> SafeString:
    """Render ``<meta name="turbo-cache-control" content="no-cache">``."""
    return turbo_cache_control("no-cache")


@register.simple_tag
def turbo_exempts_page_from_preview() -> SafeString:
    """Render ``<meta name="turbo-cache-control" content="no-preview">``."""
    return turbo_cache_control("no-preview")


@register.simple_tag
def turbo_page_requires_reload() -> SafeString:
    """
    Make Turbo load this page with a full page load.

    Renders ``<meta name="turbo-visit-control" content="reload">``.
    """
    return html.meta("turbo-visit-control", "reload")


@register.simple_tag
def turbo_disable_prefetch() -> SafeString:
    """
    Stop Turbo from loading links of this page before they are clicked.

    Renders ``<meta name="turbo-prefetch" content="false">``.
    """
    return html.meta("turbo-prefetch", "false")


@register.simple_tag
def turbo_channels_url() -> SafeString:
    """Render ``<meta name="turbo-channels-url" content="/ws/">``."""
    path = below_prefix(get_settings().websocket_path)
    return html.meta("turbo-channels-url", path)


@register.simple_tag
def turbo_static(name: str) -> str:
    """
    Return the address of a module of the client.

    ``{% turbo_static "observers.js" %}`` is ``/static/turbo/observers.min.js``, and
    with ``DEBUG`` ``/static/turbo/observers.js``.
    """
    return static(client_file(name))


def _module(context: Context, name: str) -> SafeString:
    """Return the tag that loads a module of the client; a page loads it only once."""
    source, nonce = turbo_static(name), _nonce(context)
    return html.tag("script", {"type": "module", "src": source, "nonce": nonce})


def _nonce(context: Context) -> Any:
    """Return the nonce of the page, also where no context processor has been."""
    nonce = context.get("csp_nonce")
    request = _request(context)
    if nonce is not None or request is None:
        return nonce
    if csp := getattr(context_processors, "csp", None):  # since Django 6.0
        nonce = csp(request)["csp_nonce"]
    return getattr(request, "csp_nonce", None) if nonce is None else nonce


for _tag in ("turbo_subscribe", "turbo_text", "turbo_progress", "turbo_present"):
    _examine(_tag, takes_none=False)
for _tag in ("dom_id", "turbo_component", "turbo_frame", "turbo_stream"):
    _examine(_tag)
