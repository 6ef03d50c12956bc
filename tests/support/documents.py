"""Read the pages of the documentation and their code, without Sphinx."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "ROOT", "Block", "blocks", "everything", "pages"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_DIRECTIVE = re.compile(r"( *)\.\. (code-block|literalinclude|doctest)::(.*)")
_OPTION = re.compile(r" +:([a-z-]+):(.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code on a page, with its line."""

    page: Path
    line: int
    language: str
    code: str
    options: dict[str, str]
    #: Whether it is a part of the sample chat, which has tests of its own.
    included: bool = False
    #: Why it cannot be run, from a comment ``.. not run: …`` before it.
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def caption(self) -> str:
        return self.options.get("caption", "")

    @property
    def kind(self) -> str:
        """Return the block's class: ``sent``, ``rendered``, ``whole`` or nothing."""
        return self.options.get("class", "")


def pages() -> list[Path]:
    """Return all pages, including the README."""
    found = [page for page in DOCS.rglob("*.rst") if "_build" not in page.parts]
    return [*sorted(found), ROOT / "README.rst", ROOT / "CHANGELOG.rst"]


def everything() -> str:
    """Return the text of all pages except the changelog."""
    return "\n".join(page.read_text() for page in pages()[:-1])


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page, in some languages or in all."""
    found = _blocks(page, page.read_text().splitlines())
    return [block for block in found if not languages or block.language in languages]


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    for place, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            continue
        indent, directive, argument = match.groups()
        body = _body(lines[place + 1 :], len(indent))
        options, content = _options(body)
        if directive == "literalinclude":
            code = _included(_source(page, argument.strip()), options)
            language = options.get("language", "text")
        else:
            code = textwrap.dedent("\n".join(content)).strip("\n") + "\n"
            language = argument.strip() or "doctest"
        reason = _comment_before(lines[:place])
        included = directive == "literalinclude"
        yield Block(page, place + 1, language, code, options, included, reason)


def _body(lines: list[str], indent: int) -> list[str]:
    body = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    return body


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    options = {}
    for place, line in enumerate(body):
        if (match := _OPTION.fullmatch(line)) is None:
            return options, body[place:]
        options[match[1]] = match[2].strip()
    return options, []


def _comment_before(lines: list[str]) -> str:
    last = next((line for line in reversed(lines) if line.strip()), "")
    _, _, reason = last.partition(".. not run:")
    return reason.strip()


def _source(page: Path, name: str) -> Path:
    """Return the file that a page names; as in Sphinx, ``/`` is the folder of conf."""
    return DOCS / name[1:] if name.startswith("/") else page.parent / name


def _included(path: Path, options: dict[str, str]) -> str:
    text = path.read_text()
    if name := options.get("pyobject"):
        text = _source_of(text, name)
    if end := options.get("end-before"):
        text = "".join(_until(text.splitlines(keepends=True), end))
    return textwrap.dedent(text).strip("\n") + "\n"


def _until(lines: list[str], end: str) -> Iterator[str]:
    for line in lines:
        if end in line:
            return
        yield line


def _source_of(text: str, name: str) -> str:
    """Return the source of a class, a function or a method, with its decorators."""
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        node = next(
            child
            for child in ast.iter_child_nodes(node)
            if getattr(child, "name", None) == part
        )
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
