"""The files around the code (workflows, hooks, forms, tests) agree with it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = {path.stem: path for path in GITHUB.glob("workflows/*.yml")}
#: What a job may do besides reading the repository.
PERMISSIONS = {
    ("release", "publish"): {"id-token": "write"},
    ("tests", "required"): {},
}
#: The package in the group "lint" that a repository of hooks is made from.
HOOKS = {
    "codespell-project/codespell": "codespell",
    "adamchainz/djade-pre-commit": "djade",
    "pre-commit/pre-commit-hooks": "pre-commit-hooks",
    "astral-sh/ruff-pre-commit": "ruff",
    "sphinx-contrib/sphinx-lint": "sphinx-lint",
}

each_workflow = pytest.mark.parametrize("name", sorted(WORKFLOWS))


def parse(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def jobs(name: str) -> dict[str, Any]:
    """Return the jobs of a workflow by their ids."""
    found: dict[str, Any] = parse(WORKFLOWS[name])["jobs"]
    return found


def steps(name: str) -> Iterator[dict[str, Any]]:
    for job in jobs(name).values():
        yield from job["steps"]


def classifiers(prefix: str) -> list[str]:
    """Return the versions that the package names after ``prefix``."""
    pattern = re.compile(re.escape(prefix) + r" :: (\d+\.\d+)")
    found = map(pattern.fullmatch, PYPROJECT["project"]["classifiers"])
    return [match[1] for match in found if match]


PYTHONS = classifiers("Programming Language :: Python")
DJANGOS = classifiers("Framework :: Django")


@pytest.fixture(scope="module")
def sessions() -> set[str]:
    """The names of nox's sessions, each also without its parameters."""
    done = subprocess.run(
        [sys.executable, "-m", "nox", "--list", "--nocolor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = set(re.findall(r"(?m)^[*-] (\S+)", done.stdout))
    return names | {name.partition("(")[0] for name in names}


# --- Workflows


@each_workflow
def test_each_action_is_pinned_to_a_commit(name: str) -> None:
    """A tag can be moved, a commit cannot; the comment says which version it is."""
    lines = re.findall(r"(?m)^.*\buses:.*$", WORKFLOWS[name].read_text())
    pinned = re.compile(r"[ -]*uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

    assert lines
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_an_action_has_one_version() -> None:
    """All workflows use the same commit of an action."""
    text = "".join(path.read_text() for path in WORKFLOWS.values())
    pins = set(re.findall(r"uses: (\S+)@(\S+ # \S+)", text))

    assert len(pins) == len({action for action, _ in pins})


@each_workflow
def test_a_workflow_may_read_and_a_job_little_more(name: str) -> None:
    assert parse(WORKFLOWS[name])["permissions"] == {"contents": "read"}
    for job, content in jobs(name).items():
        assert content.get("permissions") == PERMISSIONS.get((name, job))


@each_workflow
def test_a_checkout_keeps_no_credentials(name: str) -> None:
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each_workflow
def test_a_job_ends_and_does_not_run_twice(name: str) -> None:
    """Each job has a time limit; each workflow runs once at a time for a branch."""
    concurrency = parse(WORKFLOWS[name])["concurrency"]

    assert concurrency["group"] == "${{ github.workflow }}-${{ github.ref }}"
    assert all(job["timeout-minutes"] for job in jobs(name).values())


@each_workflow
def test_a_script_has_no_expressions(name: str) -> None:
    """What an event holds reaches a shell as a variable, not as a part of a script."""
    scripts = [step["run"] for step in steps(name) if "run" in step]

    assert [script for script in scripts if "${{" in script] == []


def test_the_matrix_is_what_the_package_promises() -> None:
    matrix = jobs("tests")["tests"]["strategy"]["matrix"]

    assert matrix["python"] == PYTHONS
    assert matrix["django"] == DJANGOS


def test_each_pair_of_the_matrix_is_a_session(sessions: set[str]) -> None:
    """The workflow and nox leave out the same pairs of Python and Django."""
    matrix = jobs("tests")["tests"]["strategy"]["matrix"]
    left_out = {(pair["python"], pair["django"]) for pair in matrix["exclude"]}
    pairs = {(python, django) for python in PYTHONS for django in DJANGOS} - left_out

    assert {f"tests({python}-{django})" for python, django in pairs} == {
        name for name in sessions if name.startswith("tests(")
    }


def test_one_job_requires_the_others() -> None:
    """Only what may fail is not among them."""
    found = jobs("tests")
    may_fail = {job for job in found if found[job].get("continue-on-error")}

    assert may_fail == {"upstream"}
    assert set(found["required"]["needs"]) == found.keys() - may_fail - {"required"}
    assert found["required"]["if"] == "always()"


def test_only_the_publishing_job_has_the_environment() -> None:
    """It takes the files that another job has built, and checks nothing out."""
    publish = jobs("release")["publish"]
    actions = [step["uses"].partition("@")[0] for step in publish["steps"]]

    assert actions == ["actions/download-artifact", "pypa/gh-action-pypi-publish"]
    assert publish["environment"] == "pypi"
    assert [job for job in jobs("release").values() if "environment" in job] == [
        publish
    ]


# --- Commands


def named_sessions() -> set[str]:
    """Return the sessions that workflows, ``.ci/run`` and the pages name."""
    pages = [*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")]
    files = [*WORKFLOWS.values(), ROOT / ".ci/run", *pages]
    found = [re.findall(r"--session ([\w ]+)", path.read_text()) for path in files]
    matrix = jobs("tests")["checks"]["strategy"]["matrix"]
    names = {name for lines in found for line in lines for name in line.split()}
    return names | set(matrix["session"])


def test_each_session_that_is_named_exists(sessions: set[str]) -> None:
    assert named_sessions() - sessions == set()


def test_the_checks_are_those_of_ci_run() -> None:
    script = (ROOT / ".ci/run").read_text()
    match = re.search(r"--session (lint [\w ]+\w) ", script)

    assert match is not None
    matrix = jobs("tests")["checks"]["strategy"]["matrix"]
    assert match[1].split() == matrix["session"]


def test_ci_run_takes_the_newest_django() -> None:
    script = (ROOT / ".ci/run").read_text()

    assert re.findall(r"tests\(\$version-([\d.]+)\)", script) == [DJANGOS[-1]]
    assert f"and Django {DJANGOS[-1]}" in script
    assert f"with Django {DJANGOS[0]}," in script


# --- Other services


def test_the_hooks_have_versions_that_lint_allows() -> None:
    """What passes before a commit passes in ``nox --session lint`` as well."""
    group = map(Requirement, PYPROJECT["dependency-groups"]["lint"])
    allowed = {item.name: item.specifier for item in group}
    repos = parse(ROOT / ".pre-commit-config.yaml")["repos"]
    versions = {
        HOOKS[repo["repo"].removeprefix("https://github.com/")]: repo["rev"]
        for repo in repos
        if repo["repo"] != "local"
    }

    assert versions.keys() == allowed.keys()
    for name, version in versions.items():
        assert allowed[name].contains(version.removeprefix("v")), name


def test_templates_are_laid_out_for_the_lowest_django() -> None:
    repos = parse(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook for repo in repos for hook in repo["hooks"]}

    assert hooks["djade"]["args"] == ["--target-version", DJANGOS[0]]


def test_read_the_docs_builds_as_nox_does() -> None:
    """It installs the group for the documentation, and warnings are errors."""
    content = parse(ROOT / ".readthedocs.yaml")

    assert content["build"]["tools"]["python"] in PYTHONS
    assert content["sphinx"] == {
        "configuration": "docs/conf.py",
        "fail_on_warning": True,
    }
    install = content["build"]["jobs"]["install"][-1]
    assert install.endswith('--editable ".[rest,uvicorn]" --group docs')
    assert "docs" in PYPROJECT["dependency-groups"]


def test_updates_come_weekly_in_one_request_for_each_kind() -> None:
    updates = parse(GITHUB / "dependabot.yml")["updates"]

    assert [item["package-ecosystem"] for item in updates] == [
        "github-actions",
        "pip",
        "npm",
    ]
    for item in updates:
        assert item["schedule"] == {"interval": "weekly"}
        assert [group["patterns"] for group in item["groups"].values()] == [["*"]]


def test_a_bug_comes_with_what_helps_to_find_it() -> None:
    form = parse(GITHUB / "ISSUE_TEMPLATE/bug.yml")
    labels = {field["attributes"].get("label") for field in form["body"]}

    assert {"bug_report.py", "Output of manage.py turbo_doctor"} <= labels


def test_a_vulnerability_is_not_reported_in_public() -> None:
    config = parse(GITHUB / "ISSUE_TEMPLATE/config.yml")
    (link,) = config["contact_links"]

    assert config["blank_issues_enabled"] is False
    assert "SECURITY.rst" in link["about"]
    assert (ROOT / "SECURITY.rst").exists()


# --- Tests


def test_what_a_page_waits_for_is_a_function() -> None:
    """A string is evaluated again for each look, which a policy of the page forbids."""
    waits = [
        (path.name, node.lineno, ast.unparse(node.args[0]))
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and node.args
        if getattr(node.func, "attr", "") == "wait_for_function"
    ]

    assert waits
    assert [wait for wait in waits if "=>" not in wait[2] and "'" in wait[2]] == []
