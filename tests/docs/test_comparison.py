"""Every statement of the comparison about another project names its source."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.support.documents import DOCS

TEXT = (DOCS / "topics/comparison.rst").read_text()
OURS = (
    "this library",
    ":doc:`turbo.observers </reference/observers>`",
    "``turbo.pubsub``",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table says about a project."""

    row: str
    project: str
    text: str


def tables() -> list[list[list[str]]]:
    """Return the tables as lists of rows of cells."""
    found = []
    for body in re.split(r"(?m)^\.\. list-table::\n(?:   :.+\n)+\n", TEXT)[1:]:
        rows = re.split(r"(?m)^   \* -", re.split(r"(?m)^\S", body)[0])[1:]
        found.append(
            [[cell.strip() for cell in re.split(r"(?m)^     -", row)] for row in rows]
        )
    return found


def cells() -> list[Cell]:
    """Return what the tables say about the other projects."""
    return [
        Cell(row[0], project, text)
        for (_, *projects), *rows in tables()
        for row in rows
        for project, text in zip(projects, row[1:], strict=True)
        if project not in OURS
    ]


def test_the_tables_are_read() -> None:
    assert len(tables()) == 5
    assert len(cells()) > 100


@pytest.mark.parametrize(
    "cell", [cell for cell in cells() if "tg-pubsub" not in cell.project], ids=str
)
def test_a_statement_has_a_source(cell: Cell) -> None:
    assert "unknown" in cell.text or re.search(r"\[#[\w-]+\]_", cell.text)


def test_what_is_said_of_tg_pubsub_names_a_file() -> None:
    said = [cell for cell in cells() if cell.project.startswith("tg-pubsub")]

    assert len(said) > 10
    assert [cell for cell in said if not re.search(r"``\w+\.py``", cell.text)] == []


def test_a_source_says_where_and_is_used() -> None:
    sources = dict(re.findall(r"(?m)^\.\. \[#([\w-]+)\] (.+)$", TEXT))
    used = set(re.findall(r"\[#([\w-]+)\]_", TEXT))

    assert used == set(sources)
    places = re.compile(r"https://|:doc:|same|``eventstream\.py``")
    assert [name for name, text in sources.items() if not places.search(text)] == []
