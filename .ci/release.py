"""
Check that a release is what its tag says: ``python3 .ci/release.py v1.2.0``.

The tag, ``turbo.__version__`` and the first heading of ``CHANGELOG.rst`` have to agree.
Standard library only: nothing has to be installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: A version that is published: 1.2.0, or 1.2.0rc1 before it.
RELEASE = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
HEADING = re.compile(r"^(?P<title>\S.*)\n-+\n", re.MULTILINE)


def main(tag: str) -> int:
    package = (ROOT / "turbo" / "__init__.py").read_text()
    changelog = (ROOT / "CHANGELOG.rst").read_text()
    found = problems(tag, read_version(package), changelog)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{tag} may be published.")
    return 1 if found else 0


def read_version(package: str) -> str:
    """Return the version that a module's source assigns."""
    match = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    return match[1] if match else ""


def problems(tag: str, version: str, changelog: str) -> list[str]:
    """Return a sentence for each thing that does not agree."""
    found = []
    if not RELEASE.fullmatch(version):
        found.append(f"turbo.__version__ is {version!r}, which is no release.")
    if tag != f"v{version}":
        found.append(f"The tag is {tag!r}, but turbo.__version__ is {version!r}.")
    title, text = first_section(changelog)
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", title):
        found.append(
            f"The first heading of CHANGELOG.rst is {title!r}; "
            f"it has to be '{version} (YYYY-MM-DD)'."
        )
    if not text.strip():
        found.append("The first section of CHANGELOG.rst is empty.")
    return found


def first_section(changelog: str) -> tuple[str, str]:
    """Return the title and the text of the first section."""
    headings = [*HEADING.finditer(changelog)]
    if not headings:
        return "", ""
    end = headings[1].start() if len(headings) > 1 else len(changelog)
    return headings[0]["title"], changelog[headings[0].end() : end]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Say which tag: python3 .ci/release.py v1.2.0")
    raise SystemExit(main(sys.argv[1]))
