"""
How a model is declared listenable: by a mixin of its own, or by a class that names it.

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
    What can be said about a listenable model.

    The methods are asked with the class (a mixin's model) or an instance (a
    ``ModelListenConfig``) in front, so class methods, static methods and plain methods
    of a config all do.
    """

    #: Attributes that clients of ``pubsub_server`` get as ``data``; ``pk`` is the key.
    serializer_fields: Sequence[str] = ("pk",)
    #: A serializer of Django REST framework to make ``data`` instead, or the dotted
    #: path of one: serializers import models, so models cannot import serializers.
    serializer_class: Any = None
    #: Columns of a deleted row that reach ``pubsub_server``; ``None`` stands for all
    #: but those called ``password``.
    deleted_fields: Sequence[str] | None = None

    @classmethod
    def should_notify(cls, instance: Any, action: str) -> bool:
        """
        Return whether a change is published.

        ``action`` is ``"created"``, ``"saved"`` or ``"deleted"``. Asked after the
        commit, by the process that made the change.
        """
        return True

    @classmethod
    def has_access(cls, instance: Any, user: Any) -> bool:
        """
        Return whether ``user`` is told of a change of ``instance``.

        Asked by ``pubsub_server``, once for each change and user. ``user`` may be
        anonymous. After a delete ``instance`` holds the columns that the row had.
        """
        return True


class ListenableModelMixin(Listenable):
    """Makes a model listenable. List it before ``models.Model``."""


class ModelListenConfig(Listenable):
    """Make the model of another app listenable; listed in ``EXTRA_MODELS``."""

    #: ``"app.Model"``
    model_path: str = ""


def check_installed(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that somebody listens to the models that say that they are listenable."""
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


# Here and not in the app's ready(): what is to be found is that the app is missing.
register(check_installed)
