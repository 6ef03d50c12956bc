"""Every name that code between a client's message and a permission knows."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType

from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from rest_framework.request import Request

import turbo

__all__ = ["modules_of", "names_in_the_call_path", "names_of"]

FOLDER = Path(turbo.__file__).parent
#: What a client's message can run through: packages below `turbo`.
PACKAGES = (
    "bindings",
    "connections",
    "delivery",
    "http",
    "observers",
    "pubsub",
    "replay",
    "runtime",
    "streams",
)


def modules_of(package: str) -> Iterator[ModuleType]:
    """Return the modules of a package below `turbo`, and of those in it."""
    yield from map(_module, sorted((FOLDER / package).rglob("*.py")))


def _module(path: Path) -> ModuleType:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return importlib.import_module(".".join(parts).removesuffix(".__init__"))


def names_of(module: ModuleType) -> Iterator[str]:
    """Return parameters, keywords, attributes, variables, and texts that are names."""
    assert module.__file__
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        match node:
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.Attribute(attr=name) | ast.Name(id=name):
                yield name
            case ast.Constant(value=str(name)) if name.isidentifier():
                yield name
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield from dir(value)
            yield from _parameters(getattr(value, name, None) for name in dir(value))
        else:
            yield from _parameters([value])


def _parameters(values: Iterable[object]) -> Iterator[str]:
    """Return the parameters of functions, also of those that a class inherits."""
    for value in filter(callable, values):
        yield from _parameters_of(value)


@cache
def _parameters_of(function: Callable[..., object]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def names_in_the_call_path() -> list[str]:
    """Return all of them, sorted."""
    names = {name for cls in (User, Request, ASGIRequest) for name in dir(cls)}
    top = map(_module, sorted(FOLDER.glob("*.py")))
    for module in chain(top, *map(modules_of, PACKAGES)):
        names.update(names_of(module))
    return sorted(names)
