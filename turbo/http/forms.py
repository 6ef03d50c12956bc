"""
Responses to forms that Turbo understands and that also work without Turbo.

Turbo expects a redirect with status 303, a page with status 422 if the form is invalid,
or stream elements. Nothing here is automatic: a view uses :func:`turbo_form`,
:func:`respond`, or a mixin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from turbo.shortcuts import STREAM_CONTENT_TYPE, SafeHtml, TurboResponse
from turbo.streams.rendering import render

__all__ = [
    "TurboCreateMixin",
    "TurboDeleteMixin",
    "TurboFormMixin",
    "TurboStreamMixin",
    "TurboUpdateMixin",
    "accepts_streams",
    "arespond",
    "invalid_form",
    "respond",
    "see_other",
    "turbo_form",
]

Response = TypeVar("Response", bound=HttpResponseBase)
View = TypeVar("View", bound=Callable[..., Any])

_SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])


def accepts_streams(request: HttpRequest) -> bool:
    """
    Return whether the client accepts a response of stream elements.

    Turbo does for forms, and for links with ``data-turbo-stream``. A client that
    accepts anything (``*/*``) does not count.
    """
    return any(
        f"{media.main_type}/{media.sub_type}" == STREAM_CONTENT_TYPE and media.quality
        for media in request.accepted_types
    )


def see_other(request: HttpRequest, response: Response) -> Response:
    """
    Return the redirect after a form with the status *303 See Other*.

    Other responses, and those to ``GET``, are returned unchanged.
    """
    if request.method not in _SAFE_METHODS and response.status_code in (301, 302):
        response.status_code = 303
    return response


def invalid_form(request: HttpRequest, response: Response) -> Response:
    """
    Return the page of an invalid form with status *422 Unprocessable Content*.

    Responses other than HTML with status 200, and those to ``GET``, are returned
    unchanged.
    """
    if request.method in _SAFE_METHODS or response.status_code != 200:
        return response
    if response.headers.get("Content-Type", "").startswith("text/html"):
        response.status_code = 422
    return response


def turbo_form(view: View) -> View:
    """
    Decorate a view, sync or async, so that it responds to forms as Turbo expects.

    .. code-block:: python

        @turbo_form
        def message_create(request):
            form = MessageForm(request.POST or None)
            if form.is_valid():
                return redirect(form.save().room)               # 303
            return render(request, "form.html", {"form": form})  # 422 after a POST
    """

    def finish(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return invalid_form(request, see_other(request, response))

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return finish(request, view(request, *args, **kwargs))

    @wraps(view)
    async def aanswer(
        request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        return finish(request, await view(request, *args, **kwargs))

    return aanswer if iscoroutinefunction(view) else answer  # type: ignore[return-value]


def respond(
    request: HttpRequest,
    streams: str | SafeHtml | Iterable[SafeHtml],
    context: Mapping[str, Any] | None = None,
    *,
    otherwise: HttpResponseBase,
    status: int = 200,
) -> HttpResponseBase:
    """
    Return ``streams`` to clients that accept them, and ``otherwise`` to all others.

    ``streams`` is a template with ``turbo_stream`` tags, rendered with ``context``::

        return respond(
            request,
            "chat/message_create.turbo_stream.html",
            {"message": message},
            otherwise=redirect(message.room),
        )

    or a list of rendered elements: ``[render_frame(…).append(…), …]``.
    """
    response = (
        TurboResponse(*_frames(request, streams, context), status=status)
        if accepts_streams(request)
        else see_other(request, otherwise)
    )
    patch_vary_headers(response, ["Accept"])
    return response


async def arespond(
    request: HttpRequest,
    streams: str | SafeHtml | Iterable[SafeHtml],
    context: Mapping[str, Any] | None = None,
    *,
    otherwise: HttpResponseBase,
    status: int = 200,
) -> HttpResponseBase:
    """Async version of respond()."""
    answer = sync_to_async(respond, thread_sensitive=True)
    return await answer(request, streams, context, otherwise=otherwise, status=status)


def _frames(
    request: HttpRequest,
    streams: str | SafeHtml | Iterable[SafeHtml],
    context: Mapping[str, Any] | None,
) -> Iterable[SafeHtml]:
    # A safe string is HTML; any other string is the name of a template.
    if isinstance(streams, SafeHtml):
        return [streams]
    if isinstance(streams, str):
        return [render(streams, context, request=request)]
    return streams


class TurboFormMixin:
    """
    Gives the responses of a form view the status that Turbo expects.

    The status is 422 for an invalid form, and 303 for the redirect after a valid one.
    List it before ``FormView``, ``CreateView``, ``UpdateView`` or ``DeleteView`` in the
    base classes.
    """

    request: HttpRequest

    def form_invalid(self, form: Any) -> HttpResponseBase:
        """Show the form again, with its errors."""
        answer: HttpResponseBase = super().form_invalid(form)  # type: ignore[misc]
        return invalid_form(self.request, answer)

    def form_valid(self, form: Any) -> HttpResponseBase:
        """Process the valid form, and redirect."""
        answer: HttpResponseBase = super().form_valid(form)  # type: ignore[misc]
        return see_other(self.request, answer)


class TurboStreamMixin(TurboFormMixin):
    """
    Responds to a valid form with stream elements, or with a redirect.

    Clients that do not accept stream elements get the redirect. The template is
    ``stream_template_name``; views of a model find it automatically, such as
    ``chat/message_create.turbo_stream.html`` for :class:`TurboCreateMixin`. It gets the
    same variables as the page's own template. Override :meth:`get_streams` to make the
    elements in code.
    """

    stream_template_name: str | None = None
    stream_template_suffix = ""
    object: Any = None

    def form_valid(self, form: Any) -> HttpResponseBase:
        """Process the valid form, and respond in the format that the client accepts."""
        redirect = super().form_valid(form)
        streams = self._streams(form) if accepts_streams(self.request) else ()
        return respond(self.request, streams, otherwise=redirect)

    def _streams(self, form: Any) -> SafeHtml | Iterable[SafeHtml]:
        return self.get_streams(form)

    def get_streams(self, form: Any) -> SafeHtml | Iterable[SafeHtml]:
        """Return the stream elements for a valid form."""
        context = self.get_context_data(form=form)  # type: ignore[attr-defined]
        return render(self.get_stream_template_name(), context, request=self.request)

    def get_stream_template_name(self) -> str:
        """Return the name of the template with the stream elements."""
        if self.stream_template_name is not None:
            return self.stream_template_name
        if not isinstance(self.object, Model):
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no model instance that names a template. "
                f"Set stream_template_name, or define get_streams()."
            )
        meta = self.object._meta
        name = f"{meta.model_name}{self.stream_template_suffix}"
        return f"{meta.app_label}/{name}.turbo_stream.html"


class TurboCreateMixin(TurboStreamMixin):
    """For ``CreateView``, with ``<app>/<model>_create.turbo_stream.html``."""

    stream_template_suffix = "_create"


class TurboUpdateMixin(TurboStreamMixin):
    """For ``UpdateView``, with ``<app>/<model>_update.turbo_stream.html``."""

    stream_template_suffix = "_update"


class TurboDeleteMixin(TurboStreamMixin):
    """
    For ``DeleteView``, with ``<app>/<model>_delete.turbo_stream.html``.

    The template and ``get_streams()`` get the object as it was, including its key.
    """

    stream_template_suffix = "_delete"

    def _streams(self, form: Any) -> SafeHtml | Iterable[SafeHtml]:
        self.object = self._deleted
        return super()._streams(form)

    def form_valid(self, form: Any) -> HttpResponseBase:
        """Delete the object, and respond in the format that the client accepts."""
        self._deleted = copy(self.object)
        return super().form_valid(form)
