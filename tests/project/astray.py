"""URLs and an ASGI application, with classes that belong elsewhere."""

from __future__ import annotations

from django.urls import URLPattern

import turbo
from tests.observers.app.models import Article
from tests.testapp.models import Tag
from turbo.asgi import get_application
from turbo.bindings import Binding
from turbo.observers import GenericAsyncAPIConsumer, ObserverModelListMixin

urlpatterns: list[URLPattern] = []
application = get_application()

#: Classes in tests do not count.
MODULE = "shop.views"


class TagStream(turbo.ModelStream):
    """It belongs into a ``streams.py``."""

    __module__ = MODULE

    class Meta:
        model = Tag

    def on_saved(self, tag: Tag, created: bool) -> None:
        """Do nothing; the name is wrong as well."""


class Tags(Binding):
    """It belongs into a ``bindings.py``."""

    __module__ = MODULE

    model = Tag


class Articles(ObserverModelListMixin, GenericAsyncAPIConsumer):
    """It belongs into a ``consumers.py``."""

    __module__ = MODULE

    queryset = Article.objects.all()
