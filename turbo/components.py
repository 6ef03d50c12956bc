"""
Components: streams with a template, which one tag shows and keeps up to date.

``{% turbo_component "chat:AnnouncementBanner" %}`` puts the component on a page;
``AnnouncementBanner().render(text="Back at noon")`` changes it on every page::

    <turbo-stream action="update" target="chat:AnnouncementBanner">\
<template>…</template></turbo-stream>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.safestring import SafeString

from turbo.delivery.names import user_key
from turbo.exceptions import ConfigurationError
from turbo.runtime.threads import in_database_thread
from turbo.streams.audiences import audience_on_page
from turbo.streams.rendering import Template, render
from turbo.streams.stream import Stream

__all__ = ["BaseComponent", "BroadcastComponent", "UserBroadcastComponent"]


class BaseComponent(Stream):
    """A stream with a template, in an element whose id is the stream's name."""

    class Meta:
        abstract = True

    #: The template for the element, on the page and in broadcasts.
    template_name: ClassVar[str | None] = None

    def get_context(self) -> dict[str, Any]:
        """Return the default variables of the template."""
        return {}

    def is_live(self) -> bool:
        """Return whether pages that show the component subscribe to it."""
        return True

    def render(self, context: Mapping[str, Any] | None = None, **values: Any) -> None:
        """Update the component on every page, with these variables."""
        variables = {**self.get_context(), **(context or {}), **values}
        self.update(self._template(), variables, id=self.stream_name)

    async def arender(
        self, context: Mapping[str, Any] | None = None, **values: Any
    ) -> None:
        """Async version of render()."""
        await in_database_thread(self.render, context, **values)

    def initial_render(
        self,
        context: Mapping[str, Any] | None = None,
        *,
        request: HttpRequest | None = None,
    ) -> SafeString:
        """Return the HTML for a new page; the template also gets its ``context``."""
        variables = {**self.get_context(), **(context or {})}
        if self.options.audiences:
            user = getattr(request, "user", None)
            variables["audience"] = audience_on_page(self, user)
        return render(self._template(), variables, request=request)

    def _template(self) -> Template:
        if self.template_name is None:
            raise ConfigurationError(
                f"{self.label} needs a template: set template_name."
            )
        return self.template_name


class BroadcastComponent(BaseComponent):
    """A component that shows the same to everybody."""

    class Meta:
        abstract = True


class UserBroadcastComponent(BaseComponent):
    """
    A component of one user that only this user may see.

    Create it with a user or a user's primary key: ``CartCount(request.user)``. For
    visitors who are not logged in, the page shows the template but does not subscribe.
    """

    class Meta:
        abstract = True

    def __init__(self, user: Any) -> None:
        if hasattr(user, "is_authenticated"):
            self.user = user
            user = user.pk
        self.user_pk = user if isinstance(user, int | None) else str(user)

    @cached_property
    def user(self) -> Any:
        """The given user, or the user from the database if only the key was given."""
        key: Any = self.user_pk
        return get_user_model()._base_manager.get(pk=key)

    def get_init_args(self) -> Sequence[Any]:
        """Return the user's key."""
        return [self.user_pk]

    def is_live(self) -> bool:
        """Return whether there is a user."""
        return self.user_pk is not None

    def user_passes_test(self, user: Any) -> bool:
        """Return whether ``user`` is the user of this component."""
        return self.is_live() and user_key(user) == str(self.user_pk)
