"""Every name that code between a message and a permission knows."""

from __future__ import annotations

import ast
from pathlib import Path

from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from rest_framework.request import Request

import turbo.observers
from tests.observers.app.consumers import PersonConsumer
from turbo.observers import BasePermission

__all__ = ["names_in_the_call_path", "sources"]

FOLDER = Path(turbo.observers.__file__).parent


def sources() -> dict[str, ast.Module]:
    """Return the syntax trees of `turbo.observers`, by module."""
    return {path.stem: ast.parse(path.read_text()) for path in FOLDER.glob("*.py")}


def names_in_the_call_path() -> set[str]:
    """Return the names of parameters, keywords, attributes and keys."""
    names = {
        name
        for value in (PersonConsumer, BasePermission, User, Request, ASGIRequest)
        for name in dir(value)
    }
    for tree in sources().values():
        for node in ast.walk(tree):
            match node:
                case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                    names.add(name)
                case ast.Attribute(attr=name) | ast.Name(id=name):
                    names.add(name)
                case ast.Constant(value=str(name)) if name.isidentifier():
                    names.add(name)
    return names
