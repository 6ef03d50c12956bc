"""The code of the documentation runs, and gives what is shown below it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from daphne.cli import CommandLineInterface
from django.core.management import get_commands

from tests.support.documents import DOCS, ROOT, Block, blocks, pages
from tests.support.rooms import PACKAGE
from tests.support.servers import PATIENCE

#: The tutorial's code is put together and run by ``test_docs_tutorial``.
RUN = [page for page in pages() if page.parent != DOCS / "tutorial"]


@pytest.fixture(scope="session")
def failures() -> list[str]:
    """What went wrong in any example, all run by one process."""
    names = [str(page.relative_to(ROOT)) for page in RUN]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.examples", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_examples(page: Path, failures: list[str]) -> None:
    """The page's code runs, and gives what is shown below it."""
    place = f"{page.relative_to(ROOT)}:"

    assert [text for text in failures if text.startswith(place)] == []


def test_every_example_in_json_is_json() -> None:
    for page in pages():
        for block in blocks(page, "json"):
            try:
                json.loads(block.code)
            except ValueError:  # or one object a line, with arrows before
                for line in block.code.splitlines():
                    json.loads(line.lstrip("→← ") or "null")


PROGRAMS = {
    *("bash", "cd", "createdb", "curl", "git", "gunicorn", "mkdir", "nginx", "nox"),
    *("npm", "npx", "pip", "redis-cli", "source", "sudo", "systemctl", "valkey-cli"),
    *("valkey-server", "export", "."),
}


def commands() -> list[tuple[Block, list[str]]]:
    found = []
    for page in pages():
        for block in blocks(page, "console"):
            for line in re.findall(r"(?m)^\$ (.*)", block.code.replace("\\\n", " ")):
                parts = re.split(r" (?:&&|\|) ", line.split("  # ")[0])
                found += [(block, shlex.split(part)) for part in parts]
    return found


def test_every_command_in_the_text_exists() -> None:
    for block, words in commands():
        while "=" in words[0]:  # a variable for this command
            words = words[1:]
        assert is_known(words), f"{block}: {words}"


def is_known(words: list[str]) -> bool:
    match words:
        case ["python" | "python3", "-m", module, *_]:
            return module in {
                "pip",
                "venv",
                "build",
                "django",
                "daphne",
                "uvicorn",
            } or (importlib.util.find_spec(module) is not None)
        case ["python" | "python3", "-W", _, *rest]:
            return is_known(["python", *rest])
        case ["python" | "python3" | "./manage.py", "manage.py", name, *_]:
            return name in management_commands()
        case ["python" | "python3", script, *_]:
            return (ROOT / script).is_file()
        case ["django-admin", name, *_]:
            return name in management_commands()
        case ["daphne", *arguments]:
            return parses_for_daphne(arguments)
        case ["uvicorn", *arguments]:
            return parses_for_uvicorn(arguments)
    return words[0] in PROGRAMS


def management_commands() -> set[str]:
    own = PACKAGE.rglob("management/commands/*.py")
    # Of Django REST framework, django.contrib and others that a project installs.
    usual = {"collectstatic", "createsuperuser", "runserver", "demo", "changepassword"}
    return {*get_commands(), *(path.stem for path in own), *usual}


def parses_for_daphne(arguments: list[str]) -> bool:
    CommandLineInterface().parser.parse_args(arguments)
    return True


def parses_for_uvicorn(arguments: list[str]) -> bool:
    uvicorn = importlib.import_module("uvicorn.main")
    uvicorn.main.make_context("uvicorn", list(arguments))
    return True


@pytest.mark.parametrize("name", ["deployment", "without-redis"])
def test_daphne_is_started_as_the_unit_file_says(name: str) -> None:
    page = DOCS / f"howto/{name}.rst"
    unit = next(block for block in blocks(page, "ini"))
    command = re.findall(r"ExecStart=\S+/daphne (.*)", unit.code)[0]

    assert parses_for_daphne(shlex.split(command))


def test_the_readme_has_its_two_commands() -> None:
    text = (ROOT / "README.rst").read_text()

    assert "$ python3 sample_chat/run.py\n" in text
    assert "$ python3 tests/run.py\n" in text
