"""The system checks of captured models, and what ``turbo_doctor`` says about them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router
from django.db.models import Model

from turbo.changes.captured import captured_models, is_used, tables_of
from turbo.checks.finding import Finding
from turbo.database.captured import relay
from turbo.database.models import CapturedStatement

__all__ = ["TRIGGERS", "check_capture", "examine_capture", "has_pgtrigger"]

#: Imported only where django-pgtrigger is.
TRIGGERS = "turbo.database.captured.triggers"
#: The folders of installed packages.
PACKAGES = frozenset({"dist-packages", "site-packages"})


def has_pgtrigger() -> bool:
    """Return whether django-pgtrigger is an app of the project."""
    return apps.is_installed("pgtrigger")


def check_capture(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that captured models can have triggers; this asks no database."""
    if not is_used():
        return []
    vendors = {_vendor(table) for model in captured_models() for table in _own(model)}
    found: list[CheckMessage] = []
    if "postgresql" not in vendors:
        found.append(_not_postgres())
    elif not has_pgtrigger():
        found.append(_no_pgtrigger())
    return [*found, *_in_packages()]


def _own(model: type[Model]) -> list[type[Model]]:
    return [*tables_of(model)] if model._meta.abstract else [model]


def _vendor(model: type[Model]) -> str:
    return connections[router.db_for_write(model)].vendor


def _not_postgres() -> CheckMessage:
    return Warning(
        "Models are captured, but none of them is in PostgreSQL, so only changes with "
        "signals are told.",
        hint="Use PostgreSQL, or remove Meta.capture and turbo.database.capture().",
        id="turbo.W041",
    )


def _no_pgtrigger() -> CheckMessage:
    labels = ", ".join(model._meta.label for model in captured_models())
    return Error(
        f"{labels}: to capture changes, django-pgtrigger is needed.",
        hint="Run pip install 'django-turbo-streams[postgres]', add 'pgtrigger' to "
        "INSTALLED_APPS, and run manage.py makemigrations and manage.py migrate.",
        id="turbo.E041",
    )


def _in_packages() -> Iterator[CheckMessage]:
    """Yield what would have its migration in an installed package."""
    explicit = {model._meta.concrete_model for model in captured_models()}
    proxied = {m._meta.concrete_model for m in captured_models() if m._meta.proxy}
    for model in captured_models():
        for table in tables_of(model):
            is_proxied = table in proxied or (model._meta.proxy and table in explicit)
            if not is_proxied and _is_packaged(table):
                yield Warning(
                    f"{table._meta.label} is captured, but its app is an installed "
                    f"package, where a migration would be lost.",
                    hint="Declare a proxy of the model in an app of your own, and "
                    "capture that one.",
                    obj=table,
                    id="turbo.W042",
                )


def _is_packaged(model: type[Model]) -> bool:
    path = Path(apps.get_app_config(model._meta.app_label).path)
    return not PACKAGES.isdisjoint(path.parts)


# --- The doctor


def examine_capture() -> Iterator[Finding]:
    """Yield whether the triggers are those of the code, and how many rows wait."""
    for alias in relay.aliases():
        if not relay.has_table(alias):
            yield Finding.failure(
                f"The database {alias!r} has no table for captured changes.",
                f"Run manage.py migrate turbo_database --database {alias}.",
            )
            continue
        yield from _examine_triggers(alias)
        yield from _examine_rights(alias)
        count = CapturedStatement.objects.using(alias).count()
        yield Finding.ok(f"{count} captured statements wait in {alias!r}.")


def _examine_triggers(alias: str) -> Iterator[Finding]:
    wrong = [
        f"{trigger.name} of {made.cls._meta.label} is {_state(status, enabled)}"
        for made in _registered()
        for trigger in made.triggers
        for status, enabled in [trigger.get_installation_status(made.cls, alias)]
        if (status, enabled) != ("INSTALLED", True) and status != "UNALLOWED"
    ]
    if wrong:
        yield Finding.failure(
            f"The triggers in {alias!r} are not those of the code: {', '.join(wrong)}.",
            f"Run manage.py makemigrations, and manage.py migrate --database {alias}. "
            f"The user needs the privilege TRIGGER on the tables, and CREATE on the "
            f"schema. For disabled ones run manage.py pgtrigger enable.",
        )
    else:
        yield Finding.ok(f"The triggers in {alias!r} are those of the code.")


def _state(status: str, enabled: bool | None) -> str:
    if status == "INSTALLED" and not enabled:
        return "disabled"
    return {"UNINSTALLED": "missing"}.get(status, status.lower())


def _examine_rights(alias: str) -> Iterator[Finding]:
    """Yield who may change captured tables without a right to note it."""
    tables = sorted({made.cls._meta.db_table for made in _registered()})
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT rolname FROM pg_roles, unnest(%s::text[]) AS name "
            "WHERE rolcanlogin AND to_regclass(quote_ident(name)) IS NOT NULL "
            "AND has_table_privilege(rolname, quote_ident(name), "
            "'INSERT, UPDATE, DELETE') "
            "AND NOT has_table_privilege(rolname, %s, 'INSERT') ORDER BY 1",
            [tables, CapturedStatement._meta.db_table],
        )
        roles = [role for (role,) in cursor.fetchall()]
    if roles:
        yield Finding.failure(
            f"In {alias!r}, changes of these users are not captured: "
            f"{', '.join(roles)}.",
            f"GRANT INSERT ON {CapturedStatement._meta.db_table} TO "
            f"{', '.join(roles)};",
        )


def _registered() -> list[Any]:
    if not has_pgtrigger():
        return []
    registered: list[Any] = import_module(TRIGGERS).registered()
    return registered
