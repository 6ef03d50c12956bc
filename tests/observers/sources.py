"""The source of the observers, for tests that look at their calls."""

from __future__ import annotations

import ast
from pathlib import Path

import turbo.observers

__all__ = ["sources"]

FOLDER = Path(turbo.observers.__file__).parent


def sources() -> dict[str, ast.Module]:
    """Return the syntax trees of `turbo.observers`, by module."""
    return {path.stem: ast.parse(path.read_text()) for path in FOLDER.rglob("*.py")}
