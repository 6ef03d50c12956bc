"""The Django app of the bindings."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from turbo.bindings.cache.outage import Unreachable, invalidate, with_store
from turbo.bindings.cache.registry import classes, kept
from turbo.bindings.checks import (
    check_consumers,
    check_names,
    check_prefix,
    check_querysets,
    check_store,
)
from turbo.checks.declarations import check_app

__all__ = ["BindingsConfig"]


class BindingsConfig(AppConfig):
    """Import all bindings in every process, because each may change their rows."""

    name = "turbo.bindings"
    label = "turbo_bindings"
    verbose_name = "Turbo bindings"

    def ready(self) -> None:
        """Import the ``bindings`` module of every installed app."""
        register(check_app)
        register(check_store)
        register(check_querysets)
        register(check_names)
        register(check_consumers, deploy=True)
        register(check_prefix, deploy=True)
        autodiscover_modules("bindings")
        post_migrate.connect(_migrated, dispatch_uid="turbo.bindings")


def _migrated(*, app_config: AppConfig, **kwargs: Any) -> None:
    # A migration, or the flush after a test, changes rows without a signal.
    for cls in classes():
        if cls.model._meta.app_label == app_config.label:
            try:
                for slot, _ in kept(cls):
                    with_store(partial(invalidate, slot=slot))
            except Unreachable:
                return
