"""
Components: streams with a template, shown and kept up to date by one tag.

``{% turbo_component "chat:AnnouncementBanner" %}`` puts the component on a page;
``AnnouncementBanner().render(text="Back at noon")`` changes it on every page::

    <turbo-stream action="update" target="chat:AnnouncementBanner">\
<template>…</template></turbo-stream>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.safestring import SafeString

from turbo.delivery.names import user_key
from turbo.exceptions import ConfigurationError
from turbo.streams.rendering import Template, render
from turbo.streams.stream import Stream

__all__ = ["BaseComponent", "BroadcastComponent", "UserBroadcastComponent"]


class BaseComponent(Stream):
    """A stream with a template, shown in an element whose id is the stream's name."""

    class Meta:
        abstract = True

    #: What the element holds, on the page and in broadcasts.
    template_name: ClassVar[str | None] = None

    def get_context(self) -> dict[str, Any]:
        """Return the variables that the template has unless others are given."""
        return {}

    def is_live(self) -> bool:
        """Return whether a page that shows this is to subscribe to it."""
        return True

    def render(self, context: Mapping[str, Any] | None = None, **values: Any) -> None:
        """Show the template with these variables on every page that has this."""
        variables = {**self.get_context(), **(context or {}), **values}
        self.update(self._template(), variables, id=self.stream_name)

    async def arender(
        self, context: Mapping[str, Any] | None = None, **values: Any
    ) -> None:
        """Async version of render()."""
        await sync_to_async(self.render)(context, **values)

    def initial_render(
        self,
        context: Mapping[str, Any] | None = None,
        *,
        request: HttpRequest | None = None,
    ) -> SafeString:
        """Return what a new page shows; it sees the page's own variables as well."""
        variables = {**self.get_context(), **(context or {})}
        return render(self._template(), variables, request=request)

    def _template(self) -> Template:
        if self.template_name is None:
            raise ConfigurationError(
                f"{self.label} needs a template: set template_name."
            )
        return self.template_name


class BroadcastComponent(BaseComponent):
    """A component that everybody sees alike."""

    class Meta:
        abstract = True


class UserBroadcastComponent(BaseComponent):
    """
    A component of one user, whom only that user may see.

    Made with a user or a user's primary key: ``CartCount(request.user)``. Somebody who
    is not logged in gets the template and no subscription.
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
        """The user: as given, or from the database when only the key was."""
        key: Any = self.user_pk
        return get_user_model()._base_manager.get(pk=key)

    def get_init_args(self) -> Sequence[Any]:
        """Return the user's key."""
        return [self.user_pk]

    def is_live(self) -> bool:
        """Return whether there is a user."""
        return self.user_pk is not None

    def user_passes_test(self, user: Any) -> bool:
        """Return whether it is this component's user."""
        return self.is_live() and user_key(user) == str(self.user_pk)
