"""
The layers of ``turbo``, as ``docs/topics/architecture`` draws them.

A module imports only from rows above its own; rows of one layer are in order too. A
package that is named without its modules stands for all of them. Standard library
only: ``tests/run.py`` reads this before anything is installed.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "turbo"

#: Pairs of a layer and the modules of one row.
ROWS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("exceptions", "typing")),
    (1, ("elements", "eventstream", "incoming", "wire")),
    (1, ("protocol",)),
    (1, ("frame",)),
    (2, ("conf", "dom", "metrics", "once")),
    (2, ("context", "failures", "limits", "names", "rendering", "unreadable")),
    (2, ("emitter",)),
    (2, ("async_verbs",)),
    (2, ("verbs",)),
    (3, ("changes", "replay.base", "replay.expiring", "replay.positions")),
    (3, ("replay.clock", "replay.local", "replay.scripts", "replay.selection")),
    (3, ("replay.connections",)),
    (3, ("replay.hosts",)),
    (3, ("replay.dummy", "replay.memory", "replay.redis")),
    (3, ("replay",)),
    (
        4,
        (
            "envelope",
            "errands",
            "intake",
            "outbox",
            "recorders",
            "serving",
            "threads",
            "throttle",
            "together",
        ),
    ),
    (4, ("inbox", "outlets")),
    (4, ("publisher", "topic")),
    (4, ("broadcast", "membership", "mender")),
    (4, ("hub",)),
    (5, ("identity", "options", "registry")),
    (5, ("budgets", "streams")),
    (5, ("visitors",)),
    (5, ("conventions",)),
    (5, ("model_streams", "components")),
    (5, ("questions",)),
    (5, ("gate",)),
    (5, ("birth", "revocation")),
    (6, ("subscribers", "shortcuts", "templatetags")),
    (6, ("consumers", "origin", "views", "http")),
    (6, ("native", "producers", "routing")),
    (6, ("urls",)),
    (6, ("asgi", "checks", "daphne", "middleware")),
    (6, ("doctor",)),
    (6, ("apps", "management")),
    (7, ("observers", "bindings", "pubsub", "testing", "inspector", "server")),
)

#: The layers that the tests must cover entirely.
CORE = range(0, 6)


def module_name(path: Path) -> str:
    """Return ``replay.base`` for ``turbo/replay/base.py``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """Return every module below ``turbo``; ``turbo/__init__.py`` itself is ``""``."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def row_of(name: str) -> int | None:
    """Return the number of the row that names the module, or the package around it."""
    rows = {entry: number for number, (_, row) in enumerate(ROWS) for entry in row}
    while name and name not in rows:
        name = name.rpartition(".")[0]
    return rows.get(name)


def layer_of(name: str) -> int | None:
    row = row_of(name)
    return None if row is None else ROWS[row][0]


def core_files() -> list[str]:
    """Return the paths of the modules whose coverage is measured."""
    return [str(path) for name, path in modules().items() if layer_of(name) in CORE]
