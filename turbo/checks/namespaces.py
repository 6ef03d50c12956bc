"""System checks of the functions that keep tenants apart."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning

from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError
from turbo.runtime.namespaces import current, is_used

__all__ = ["check_namespaces"]


def check_namespaces() -> Iterator[CheckMessage]:
    """Check that the functions can be called, and that none is missing."""
    if not is_used():
        return
    try:
        current()
    except ConfigurationError as error:
        yield _error(str(error))
    except Exception as error:
        yield _error(f"TURBO['NAMESPACE'] raised {type(error).__name__}: {error}.")
    settings = get_settings()
    functions = {
        "ENTER_NAMESPACE": settings.enter_namespace,
        "FIND_NAMESPACE": settings.find_namespace,
    }
    if missing := [f"TURBO[{key!r}]" for key, given in functions.items() if not given]:
        yield Warning(
            f"TURBO['NAMESPACE'] is set, but not {' and '.join(missing)}. This works "
            f"only if a process has the same namespace all the time.",
            hint="Set both, as in the documentation on several tenants, or silence the "
            "check if each process is that of one tenant.",
            id="turbo.W071",
        )


def _error(problem: str) -> CheckMessage:
    return Error(
        problem,
        hint="Outside of a tenant, as in this check, it may return an empty string.",
        id="turbo.E070",
    )
