"""One word an idea: the words that were given up do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.rooms import PACKAGE, modules

ROOT = PACKAGE.parent

#: Words of earlier versions, each a picture for something that has a plain name.
GONE = [
    "birth",
    "contended",
    "courier",
    "desk",
    "errand",
    "gate",
    "heed",
    "judge",
    "lane",
    "mender",
    "notebook",
    "obey",
    "outbox",
    "outlet",
    "pointer",
    "seat",
    "torn",
    "trunk",
    "verdict",
]

#: Names that stand for something else by now.
GONE_NAMES = [
    "Arrived",
    "Book",
    "Branch",
    "Form",
    "Grant",
    "Line",
    "ListView",
    "InstanceView",
    "Membership",
    "Order",
    "Origin",
    "Pile",
    "Piles",
    "Relay",
    "Session",
    "Telling",
    "Validators",
    "at_most",
    "each_once",
    "pile",
    "pointer",
    "telling",
    "together",
]

MODULES = sorted(modules().items())
DOCS = sorted((ROOT / "docs").rglob("*.rst"))
SCRIPTS = sorted((PACKAGE / "static/turbo").glob("*.js"))


def tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text()).readline))


def parts(identifier: str) -> list[str]:
    """
    Return the words of a name.

    >>> parts("_takeRow_setsBy")
    ['take', 'row', 'sets', 'by']
    """
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+", identifier)]


def of_one(word: str) -> set[str]:
    return {word, f"{word}s", f"{word}ed"}


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_code_has_none_of_the_old_words(name: str, path: Path) -> None:
    """Neither as a part of a name, nor in a comment, a docstring or a message."""
    gone = set().union(*map(of_one, GONE))
    found = [
        (token.start[0], word)
        for token in tokens(path)
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT)
        for word in parts(token.string)
        if word in gone
    ]

    assert set(parts(name.replace(".", "_"))) & gone == set()
    assert found == []


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_no_name_has_its_old_meaning(name: str, path: Path) -> None:
    names = {token.string for token in tokens(path) if token.type == tokenize.NAME}

    assert names & set(GONE_NAMES) == set()


@pytest.mark.parametrize("path", [*DOCS, *SCRIPTS], ids=lambda path: path.stem)
def test_documents_have_none_of_the_old_words(path: Path) -> None:
    """But for examples, which are about whatever they like."""
    metaphors = set().union(*map(of_one, GONE)) - {"desk", "desks", "seat", "seats"}
    text = re.sub(r"(?m)^ {3,}.*$", "", path.read_text()) if path in DOCS else ""
    text = text or path.read_text()

    assert set(parts(text)) & metaphors == set()


def test_no_two_public_classes_have_one_name() -> None:
    """But for the commands, whose name is Django's."""
    names = [
        match
        for _, path in MODULES
        for match in re.findall(r"(?m)^class ([A-Z]\w*)", path.read_text())
        if match != "Command"
    ]

    assert sorted({name for name in names if names.count(name) > 1}) == []
