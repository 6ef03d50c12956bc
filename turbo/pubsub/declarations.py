"""
Declarations of listenable models, by a mixin or by a class that names the model.

::

    class Topping(ListenableModelMixin, models.Model):
        name = models.CharField(max_length=100)
        serializer_fields = ("pk", "name")

    class UserListenConfig(ModelListenConfig):      # in EXTRA_MODELS
        model_path = "auth.User"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, register
from django.core.checks import Warning as CheckWarning

__all__ = ["Listenable", "ListenableModelMixin", "ModelListenConfig"]

APP = "turbo.pubsub"


class Listenable:
    """
    The options of a listenable model.

    The methods are called on the class (a model with the mixin) or on an instance (of a
    ``ModelListenConfig``), so they can be class methods, static methods, or plain
    methods of a config.
    """

    #: Attributes that clients of ``pubsub_server`` get as ``data``; ``pk`` is the key.
    serializer_fields: Sequence[str] = ("pk",)
    #: A serializer of Django REST framework that makes ``data`` instead, or its dotted
    #: path, because serializers import models, so models cannot import serializers.
    serializer_class: Any = None
    #: Columns of a deleted row that are sent to ``pubsub_server``; ``None`` means all
    #: except those called ``password``.
    deleted_fields: Sequence[str] | None = None

    @classmethod
    def should_notify(cls, instance: Any, action: str) -> bool:
        """
        Return whether a change is published.

        ``action`` is ``"created"``, ``"saved"`` or ``"deleted"``. The process that made
        the change calls this after the commit.
        """
        return True

    @classmethod
    def has_access(cls, instance: Any, user: Any) -> bool:
        """
        Return whether ``user`` receives a change of ``instance``.

        ``pubsub_server`` calls this once for each change and user. ``user`` may be
        anonymous. After a delete, ``instance`` has the columns that the row had.
        """
        return True


class ListenableModelMixin(Listenable):
    """Makes a model listenable. List it before ``models.Model``."""


class ModelListenConfig(Listenable):
    """Makes a model of another app listenable. List it in ``EXTRA_MODELS``."""

    #: ``"app.Model"``
    model_path: str = ""


def check_installed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the app is installed if there are listenable models."""
    if apps.is_installed(APP):
        return []
    models = [m for m in apps.get_models() if issubclass(m, ListenableModelMixin)]
    return [
        CheckWarning(
            f"{model._meta.label} is listenable, but {APP!r} is not installed, so "
            f"nothing is published.",
            hint=f"Add {APP!r} to INSTALLED_APPS.",
            obj=model,
            id="turbo.W030",
        )
        for model in models
    ]


# Not in the app's ready(), because the check finds out that the app is missing.
register(check_installed)
