"""The order of the rooms and the size limits, held against the source as it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from graphlib import TopologicalSorter

import pytest

from tests.support.rooms import ROOMS, may_import, modules, room_of
from tests.support.servers import PATIENCE

MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
NAMED = sorted(name for name in MODULES if name)

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 50

FAST_PATH = ("uvicorn", "websockets")

#: What a room may import besides the standard library and the rooms to its left.
ALLOWED = {
    0: ("django.core.exceptions",),
    1: ("asgiref", "django"),
    2: ("asgiref", "channels", "channels_redis", "django", "redis"),
    3: ("asgiref", "channels_redis", "django", "redis"),
    4: ("asgiref", "channels", "channels_redis", "django"),
    5: ("asgiref", "django"),
    6: ("asgiref", "channels", "django"),
    7: ("asgiref", "django"),
    8: ("asgiref", "channels", "channels_redis", "daphne", "django", *FAST_PATH),
}

#: Modules that await nothing and read no clock and no setting.
PURE = (
    "connections.sse_text",
    "delivery.frame",
    "delivery.client_json",
    "delivery.protocol",
    "replay.positions",
    "streams.html",
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything imported anywhere below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def type_only_blocks(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield each ``if TYPE_CHECKING:``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield node


def own_imports(tree: ast.AST) -> set[str]:
    """Return the modules of ``turbo`` imported below ``tree``, without the prefix."""
    return {
        nearest_module(name.removeprefix("turbo").removeprefix("."))
        for name in imported(tree)
        if name.partition(".")[0] == "turbo"
    }


def type_only_imports(tree: ast.AST) -> set[str]:
    """Return those that only the type checker follows."""
    return set().union(*map(own_imports, type_only_blocks(tree)))


def real_imports(tree: ast.AST) -> set[str]:
    """Return those that happen when the program runs."""
    return own_imports(tree) - type_only_imports(tree)


def nearest_module(name: str) -> str:
    """Return ``names`` for ``names.sign``: the module that holds an imported name."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def test_every_module_is_in_a_room() -> None:
    """A new module takes its place in a room before it is merged."""
    rooms = {top for room in ROOMS for top in room}

    assert {name.partition(".")[0] for name in NAMED} == rooms


def offenders(find: Callable[[str], Collection[str]]) -> dict[str, Collection[str]]:
    """Return what ``find`` finds wrong, by module."""
    found = {name: find(name) for name in NAMED}
    return {name: wrong for name, wrong in found.items() if wrong}


def test_imports_only_from_the_left() -> None:
    """A module imports only from its own room, and from rooms to the left of it."""

    def wrong(name: str) -> set[str]:
        others = real_imports(TREES[name])
        return {other for other in others if not may_import(name, other)}

    assert offenders(wrong) == {}


def test_types_come_from_no_room_to_the_right() -> None:
    """An annotation may look sideways, never at what uses this module."""

    def wrong(name: str) -> set[str]:
        others = type_only_imports(TREES[name])
        return {other for other in others if room_of(other) > room_of(name)}

    assert offenders(wrong) == {}


def test_does_not_import_the_package() -> None:
    """Inside the library names come from their module, not from the public list."""
    assert [name for name in NAMED if "" in own_imports(TREES[name])] == []


def test_imports_nothing_of_turbo_in_a_function() -> None:
    """An import inside a function would hide an upward one."""

    def wrong(name: str) -> set[str]:
        nodes = ast.walk(TREES[name])
        functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
        return set().union(*map(own_imports, functions))

    assert offenders(wrong) == {}


def test_imports_only_allowed_libraries() -> None:
    """Each room knows the third parties that it needs, and no more."""

    def wrong(name: str) -> set[str]:
        allowed = ALLOWED.get(room_of(name))
        return {
            other
            for other in imported(TREES[name])
            if allowed is not None
            and other.partition(".")[0] not in sys.stdlib_module_names | {"turbo"}
            and not any(f"{other}.".startswith(f"{prefix}.") for prefix in allowed)
        }

    assert offenders(wrong) == {}


def test_imports_have_no_cycle() -> None:
    """The modules can be put in an order in which each needs only earlier ones."""
    graph = {name: real_imports(tree) - {name} for name, tree in TREES.items()}

    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("name", PURE)
def test_pure_module_is_pure(name: str) -> None:
    """What is pure awaits nothing and reads neither a clock nor a setting."""
    tree = TREES[name]
    awaiting = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.AsyncFunctionDef)
    clocks = {"asyncio", "datetime", "threading", "time"}

    assert [node.lineno for node in ast.walk(tree) if isinstance(node, awaiting)] == []
    assert {name.partition(".")[0] for name in imported(tree)} & clocks == set()
    assert own_imports(tree) & {"conf"} == set()


def test_sizes() -> None:
    """Modules and functions stay small."""

    def wrong(name: str) -> list[str]:
        lines = len(MODULES[name].read_text().splitlines())
        long = [f"{lines} lines"] if lines > MAX_MODULE_LINES else []
        return long + [
            f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
            for node in ast.walk(TREES[name])
            if isinstance(node, FUNCTIONS)
            and node.end_lineno is not None
            and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
        ]

    assert offenders(wrong) == {}


def test_import_turbo_loads_no_optional_library() -> None:
    """``import turbo`` loads no DRF, no Redis client and no server."""
    code = (
        "import sys, turbo; print(*sorted({'rest_framework', 'redis', 'daphne',"
        " 'channels_redis', 'uvicorn', 'twisted'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=MODULES[""].parent.parent,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * PATIENCE,
    )

    assert done.stdout.strip() == ""
