"""``.ci/release.py`` lets a release pass when its three names agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import turbo

ROOT = Path(__file__).resolve().parent.parent

CHANGELOG = """\
Changelog
=========

1.2.0 (2027-01-31)
------------------

* A change.

1.1.0 (2026-12-01)
------------------

* An older change.
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_agrees_has_no_problems(release: ModuleType) -> None:
    assert release.problems("v1.2.0", "1.2.0", CHANGELOG) == []


def test_a_candidate_is_a_release(release: ModuleType) -> None:
    changelog = CHANGELOG.replace("1.2.0 (", "1.2.0rc1 (")

    assert release.problems("v1.2.0rc1", "1.2.0rc1", changelog) == []


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2.1", "v1.2.0-1", "v1.2"])
def test_another_tag_is_refused(release: ModuleType, tag: str) -> None:
    assert release.problems(tag, "1.2.0", CHANGELOG) == [
        f"The tag is {tag!r}, but turbo.__version__ is '1.2.0'."
    ]


def test_another_version_is_refused(release: ModuleType) -> None:
    assert release.problems("v1.2.0", "1.1.0", CHANGELOG) == [
        "The tag is 'v1.2.0', but turbo.__version__ is '1.1.0'.",
        "The first heading of CHANGELOG.rst is '1.2.0 (2027-01-31)'; "
        "it has to be '1.1.0 (YYYY-MM-DD)'.",
    ]


@pytest.mark.parametrize("version", ["", "1.2", "1.2.0.dev1", "1.2.0+local"])
def test_a_version_that_is_not_published_is_refused(
    release: ModuleType, version: str
) -> None:
    changelog = CHANGELOG.replace("1.2.0", version)

    assert release.problems(f"v{version}", version, changelog)[0] == (
        f"turbo.__version__ is {version!r}, which is no release."
    )


@pytest.mark.parametrize(
    "title", ["Unreleased", "1.2.0", "1.2.0 (soon)", "1.2.0rc1 (2027-01-31)"]
)
def test_another_heading_is_refused(release: ModuleType, title: str) -> None:
    changelog = CHANGELOG.replace("1.2.0 (2027-01-31)", title)

    assert release.problems("v1.2.0", "1.2.0", changelog) == [
        f"The first heading of CHANGELOG.rst is {title!r}; "
        "it has to be '1.2.0 (YYYY-MM-DD)'."
    ]


def test_an_empty_section_is_refused(release: ModuleType) -> None:
    changelog = CHANGELOG.replace("* A change.\n", "")

    assert release.problems("v1.2.0", "1.2.0", changelog) == [
        "The first section of CHANGELOG.rst is empty."
    ]


def test_the_checkout_is_read(
    release: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version and the changelog of this checkout are found."""
    assert release.main("v0.0.0") == 1

    printed = capsys.readouterr().err
    assert f"turbo.__version__ is {turbo.__version__!r}" in printed
    changelog = (ROOT / "CHANGELOG.rst").read_text()
    title, text = release.first_section(changelog)
    assert title
    assert text.strip() == "" or "*" in text
