"""
The rooms of ``turbo``, from left to right, as ``docs/topics/architecture`` draws them.

This module uses only the standard library, because ``tests/run.py`` reads it before
anything is installed.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "turbo"

#: A module imports from its own room and from rooms to its left.
ROOMS: tuple[tuple[str, ...], ...] = (
    ("exceptions", "typing"),
    ("conf",),
    ("metrics", "runtime"),
    ("replay", "changes"),
    ("delivery",),
    ("streams", "components"),
    ("connections", "consumers"),
    ("http", "shortcuts", "middleware", "templatetags"),
    ("routing", "urls", "asgi", "checks", "server", "apps", "management"),
    (
        "observers",
        "bindings",
        "pubsub",
        "testing",
        "inspector",
        "jinja2",
        "telemetry",
    ),
    ("database",),
)

#: Packages that import nothing else from their room.
APART = frozenset({"replay", "changes", *ROOMS[-2]})

#: The last of the rooms that tests must cover completely.
CORE = "connections"


def module_name(path: Path) -> str:
    """Return ``replay.base`` for ``turbo/replay/base.py``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """Return every module below ``turbo``; ``turbo/__init__.py`` itself is ``""``."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(name: str) -> int:
    """Return the number of a module's room, counted from the left."""
    top = name.partition(".")[0]
    return next(number for number, room in enumerate(ROOMS) if top in room)


def may_import(name: str, other: str) -> bool:
    """Return whether the module ``name`` may import the module ``other``."""
    top, other_top = name.partition(".")[0], other.partition(".")[0]
    if APART & {top} and top != other_top:
        return room_of(other) < room_of(name)
    return room_of(other) <= room_of(name)


def core_files() -> list[str]:
    """Return the paths of the modules whose coverage is measured."""
    last = room_of(CORE)
    return [
        str(path) for name, path in modules().items() if name and room_of(name) <= last
    ]
