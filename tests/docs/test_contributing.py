"""What the guide for contributors names is there."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import Any

import pytest

from tests.streams.test_verbs import ALL_VERBS
from tests.support.documents import DOCS, ROOT, blocks
from tests.support.rooms import PACKAGE, ROOMS, module_name
from turbo.replay import ReplayLog
from turbo.streams.verbs import Verbs

GUIDE = DOCS / "contributing"
PAGES = [*sorted(GUIDE.rglob("*.rst")), ROOT / "CONTRIBUTING.rst"]
DECISIONS = [
    page for page in (GUIDE / "decisions").glob("*.rst") if page.stem != "index"
]
#: Folders whose files are named by their whole path.
FOLDERS = "turbo|tests|docs|benchmarks|bundle|sample_chat|[.]ci|[.]github"


def stem(page: Path) -> str:
    return page.stem


def has(dotted: str) -> bool:
    """Tell whether ``turbo.x.y`` is a module, or a name inside of one."""
    module, *names = dotted.split(".")
    found: Any = import_module(module)
    for name in names:
        if not hasattr(found, name):
            module = f"{module}.{name}"
            try:
                found = import_module(module)
            except ImportError:
                return False
        else:
            found = getattr(found, name)
            module = getattr(found, "__name__", module)
    return True


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_every_path_is_there(page: Path) -> None:
    paths = re.findall(rf"``((?:{FOLDERS})(?:/[\w./-]+)?)``", page.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_every_module_is_there(page: Path) -> None:
    names = re.findall(r"``(turbo(?:\.\w+)+)``", page.read_text())

    assert [name for name in names if not has(name)] == []


def test_the_ways_lead_through_modules() -> None:
    """The drawings name modules below ``turbo`` at the start of their lines."""
    drawings = blocks(GUIDE / "house.rst", "text")
    lines = [line for drawing in drawings for line in drawing.code.splitlines()]
    steps = [
        match[1]
        for line in lines
        if (match := re.match(r"[ │├└─]*(\w+/\w+|consumers)(?=  |$)", line))
    ]

    assert len(steps) > 30
    assert [step for step in steps if not (PACKAGE / f"{step}.py").exists()] == []


def test_the_map_has_every_room() -> None:
    text = (GUIDE / "house.rst").read_text()
    rows = re.findall(r"(?m)^   \* - (``.+)$", text)

    assert [tuple(re.findall(r"``(\w+)``", row)) for row in rows] == list(ROOMS)


def test_every_session_of_nox_that_is_named_is_there() -> None:
    text = (GUIDE / "index.rst").read_text()
    table = text.partition("Session  ")[2].partition("Search, and repeat")[0]
    named = re.findall(r"(?m)^``(\w+)`` ", table)
    named += re.findall(r"nox --session ((?:\w+ ?)+)", text)

    tree = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert len(named) > 10
    assert {word for words in named for word in words.split()} <= sessions


@pytest.mark.parametrize("page", DECISIONS, ids=stem)
def test_a_decision_says_what_it_costs(page: Path) -> None:
    """Each record has the parts of the form, and fits on about a screen."""
    text = page.read_text()

    parts = re.findall(r"(?m)^(\w.*)\n===+$", text)
    assert parts[1:] == ["Context", "Decision", "What else there is", "Consequences"]
    assert len(text.splitlines()) <= 70


def test_every_decision_is_in_the_list() -> None:
    index = (GUIDE / "decisions/index.rst").read_text()
    listed = re.findall(r"(?m)^   ([\w-]+)$", index.partition("Write a record")[0])

    assert sorted(listed) == sorted(page.stem for page in DECISIONS)


def test_every_name_in_the_recipes_is_in_the_code() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    code = "\n".join(file.read_text() for file in files if file != Path(__file__))

    text = (GUIDE / "recipes.rst").read_text()
    names = re.findall(r"``(?:turbo\.\w+\.)*(\w*[A-Z]\w+)``", text)
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


# --- What the recipes say is noticed


def test_every_verb_is_tested_and_has_an_entry() -> None:
    named = [name for name in vars(Verbs) if not name.startswith("_")]
    verbs = [name for name in named if f"a{name}" in named]
    text = (DOCS / "reference/verbs.rst").read_text()

    assert sorted(named) == sorted([*verbs, *(f"a{name}" for name in verbs)])
    assert sorted(verbs) == sorted(ALL_VERBS)
    assert sorted(re.findall(r"\.\. method:: [\w.]+\.Verbs\.(\w+)\(", text)) == sorted(
        verbs
    )


def test_every_replay_log_has_an_entry() -> None:
    modules = [import_module(f"turbo.{module_name(path)}") for path in LOGS]
    logs = {
        f"{value.__module__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, ReplayLog)
        and not isabstract(value)
    }

    shown = re.findall(
        r"\.\. autoclass:: ([\w.]+\.\w+Replay)",
        (DOCS / "reference/replay.rst").read_text(),
    )
    assert sorted(shown) == sorted(logs)


LOGS = [*(PACKAGE / "replay").glob("*.py"), PACKAGE / "database/replay.py"]
