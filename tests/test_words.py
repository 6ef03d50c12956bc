"""One word an idea: the words that were given up do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

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

MODULES = modules()
DOCS = (ROOT / "docs").rglob("*.rst")
WRITTEN = (PACKAGE / "static/turbo").glob("*.js")
SCRIPTS = [path for path in WRITTEN if not path.name.endswith(".min.js")]
DOCUMENTS = {str(path.relative_to(ROOT)): path for path in [*DOCS, *SCRIPTS]}


@cache
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


def offenders(
    paths: Mapping[str, Path], find: Callable[[str, Path], Iterable[object]]
) -> dict[str, list[object]]:
    """Return what ``find`` finds wrong, by module or document."""
    found = {name: list(find(name, path)) for name, path in paths.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


def test_code_has_none_of_the_old_words() -> None:
    """Neither as a part of a name, nor in a comment, a docstring or a message."""
    gone = set().union(*map(of_one, GONE))

    def wrong(name: str, path: Path) -> Iterator[object]:
        yield from set(parts(name.replace(".", "_"))) & gone
        for token in tokens(path):
            if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
                for word in gone.intersection(parts(token.string)):
                    yield token.start[0], word

    assert offenders(MODULES, wrong) == {}


def test_no_name_has_its_old_meaning() -> None:
    def wrong(name: str, path: Path) -> set[str]:
        names = {token.string for token in tokens(path) if token.type == tokenize.NAME}
        return names & set(GONE_NAMES)

    assert offenders(MODULES, wrong) == {}


def test_documents_have_none_of_the_old_words() -> None:
    """But for examples, which are about whatever they like."""
    metaphors = set().union(*map(of_one, GONE)) - {"desk", "desks", "seat", "seats"}

    def wrong(name: str, path: Path) -> set[str]:
        text = path.read_text()
        if path.suffix == ".rst":
            text = re.sub(r"(?m)^ {3,}.*$", "", text) or text
        return set(parts(text)) & metaphors

    assert offenders(DOCUMENTS, wrong) == {}


def test_no_two_public_classes_have_one_name() -> None:
    """But for the commands, whose name is Django's."""
    names = [
        match
        for path in MODULES.values()
        for match in re.findall(r"(?m)^class ([A-Z]\w*)", path.read_text())
        if match != "Command"
    ]

    assert sorted({name for name in names if names.count(name) > 1}) == []
