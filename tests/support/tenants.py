"""Tenants that are nothing but a name in each thread, as Django's connections are."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.test import override_settings

__all__ = ["SETTINGS", "at", "closed", "current_tenant", "tenant", "using_tenants"]


class _State(threading.local):
    name = ""


_state = _State()
#: Tenants that are no more, for the length of a test.
closed: set[str] = set()


def current_tenant() -> str:
    return _state.name


@contextmanager
def tenant(name: str) -> Iterator[None]:
    """Let a tenant be the one of this thread."""
    if name in closed:
        raise LookupError(f"{name} is no more.")
    before, _state.name = _state.name, name
    try:
        yield
    finally:
        _state.name = before


def tenant_of_scope(scope: Mapping[str, Any]) -> str | None:
    """Return the first part of the host's name, or ``None`` for strangers."""
    host = dict(scope["headers"]).get(b"host", b"").decode()
    name: str = host.partition(".")[0]
    return None if name == "stranger" else name


SETTINGS = {
    "NAMESPACE": f"{__name__}.current_tenant",
    "ENTER_NAMESPACE": f"{__name__}.tenant",
    "FIND_NAMESPACE": f"{__name__}.tenant_of_scope",
}


def using_tenants(**turbo: Any) -> override_settings:
    """Return the settings of a project with tenants."""
    return override_settings(TURBO={"RECHECK_INTERVAL": 3_600, **SETTINGS, **turbo})


def at(name: str) -> dict[str, Any]:
    """Return the scope of a WebSocket to a tenant's host."""
    return {"headers": [(b"host", f"{name}.example.com".encode())]}
