"""
A check for names that look like hooks and are not.

They are misspelt, such as ``on_saved``, or left of another library.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType, ModuleType
from typing import TypeAlias

from django.core.checks import CheckMessage, Warning

__all__ = ["Replaced", "check_hooks"]

#: How alike two names must be, from 0 to 1: "user_passes" is 0.81.
ALIKE = 0.8

#: Names that other libraries, or Django, have for a hook.
ELSEWHERE = {
    "after_delete": "on_delete",
    "after_save": "on_save",
    "has_access": "user_passes_test",
    "has_permission": "user_passes_test",
    "on_create": "on_save",
    "on_update": "on_save",
    "permissions": "permission_classes",
    "post_delete": "on_delete",
    "post_save": "on_save",
    "test_func": "user_passes_test",
    "user_passes_test": "has_access",
}


#: For the names that hooks had in a peer, what to do instead.
Replaced: TypeAlias = Mapping[str, str]


def check_hooks(
    cls: type,
    hooks: Collection[str],
    *,
    used: Collection[str] = (),
    replaced: Replaced = MappingProxyType({}),
) -> Iterator[CheckMessage]:
    """
    Yield a warning for each name in a class that is nearly one of ``hooks``.

    Names that are ``used`` in another way are right, and so is a name beside the hook
    itself, or one that the project's own code reads. A hook that has been ``replaced``
    gets a warning, too.
    """
    known = {name for base in cls.__mro__ if not _is_own(base) for name in vars(base)}
    bases = [base for base in reversed(cls.__mro__) if _is_own(base)]
    own = {name: base for base in bases for name in vars(base)}
    for name, base in own.items():
        if name in known or name in used:
            continue
        hook = None if name in replaced else _nearest(name, hooks)
        if name not in replaced and (hook is None or hook in own):
            continue
        if _is_read(name, bases):
            continue
        place = f"{base.__module__}.{base.__qualname__}"
        problem = f"{place} has {name!r}, which nothing calls or reads."
        if hook is None:
            hint = replaced[name]
        else:
            problem = f"{problem} Did you mean {hook!r}?"
            hint = f"Rename it to {hook!r}, or give it a less similar name."
        yield Warning(problem, hint=hint, obj=cls, id="turbo.W016")


def _is_own(cls: type) -> bool:
    return cls.__module__.partition(".")[0] not in ("builtins", "django", "turbo")


def _is_read(name: str, classes: Collection[type]) -> bool:
    """Return whether a module of the classes reads ``self.name`` or ``cls.name``."""
    read = re.compile(rf"\b(self|cls)\.{re.escape(name)}\b")
    modules = {sys.modules.get(cls.__module__) for cls in classes}
    return any(module and read.search(_source(module)) for module in modules)


def _source(module: ModuleType) -> str:
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):  # there is no file, as in a shell
        return ""


def _nearest(name: str, hooks: Collection[str]) -> str | None:
    if name in hooks or name.startswith("_"):
        return None
    if (hook := ELSEWHERE.get(name)) in hooks:
        return hook
    alike = get_close_matches(name.lower(), hooks, n=1, cutoff=ALIKE)
    return alike[0] if alike else None
