"""
The project's tasks: ``nox`` runs those that a change must pass, ``nox --session lint``
one of them. ``full``, ``coverage``, ``fuzz``, ``audit``, ``timing`` and ``bench`` are
only run when they are named.

``python3 tests/run.py`` runs the tests without nox, on the interpreter at hand.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types", "docs", "package"]

#: The oldest interpreter that is supported, and the newest that is here.
ENDS = ["3.11", "3.14" if shutil.which("python3.14") else "3.13"]
CHECKOUT = ("--editable", ".[rest,uvicorn]")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), name)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the whole suite; pip takes the newest Django for the interpreter."""
    session.install(*CHECKOUT, *group("test"))
    arguments = session.posargs or ["-n", "2", "--dist", "worksteal"]
    session.run("python", "-m", "pytest", *arguments)


@nox.session(python=ENDS)
def full(session: nox.Session) -> None:
    """Run the whole suite on both ends, long soaks and measured coverage included."""
    session.notify("coverage")
    session.install(*CHECKOUT, *group("test"))
    arguments = session.posargs or ["-n", "2", "--dist", "worksteal"]
    env = {"TURBO_SOAK_SECONDS": "30", "TURBO_REQUIRE_BROWSER": "1"}
    session.run("python", "-m", "pytest", *arguments, env=env)


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Measure the coverage of the rooms up to ``connections``."""
    session.run("python3", "tests/run.py", "--coverage")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send random frames to every protocol, by default five minutes for each search."""
    session.install(*CHECKOUT, *group("test"))
    seconds = session.env.get("TURBO_SOAK_SECONDS", "300")
    arguments = session.posargs or ["-n", "2", "tests/fuzz"]
    session.run(
        *("python", "-m", "pytest", "--timeout", "0", *arguments),
        env={"TURBO_SOAK_SECONDS": seconds},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the annotations, the public ones by a module that is never run."""
    session.install(*CHECKOUT, *group("types"))
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors; its examples run as tests."""
    session.install(*CHECKOUT, *group("docs"), *group("test"))
    session.run("python", "docs/screenshots.py")
    strict = ("-n", "-W", "--keep-going", "-q")
    session.run("sphinx-build", *strict, "-b", "html", "docs", "docs/_build/html")


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """Build what is published, install it away from the checkout and import it."""
    session.install("build")
    dist = Path(session.create_tmp(), "dist").resolve()
    session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT), silent=True)
    wheel = str(next(dist.glob("*.whl")))
    session.install(wheel)
    session.chdir(dist)
    session.run("python", "-m", "pip", "check")
    session.run("python", "-c", "import turbo; print(turbo.__file__)")
    session.run("python", "-m", "zipfile", "--list", wheel)


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known holes in what is installed, and in the lowest versions allowed."""
    session.install(*CHECKOUT, "pip-audit>=2.10")
    freeze = ("python", "-m", "pip", "freeze", "--exclude-editable")
    installed = str(session.run(*freeze, silent=True))
    for name, pins in {"installed": installed, "lowest": lowest()}.items():
        path = Path(session.create_tmp(), f"{name}.txt")
        path.write_text(pins)
        session.run(
            # Strict: what the database does not know is an error, not a success.
            *("pip-audit", "--strict", "--no-deps", "--disable-pip"),
            *("--requirement", str(path)),
        )


def lowest() -> str:
    """Return the requirements, each at the lowest version that it allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (Requirement(text) for group in groups for text in group)
    return "\n".join(
        f"{item.name}=={bound.version}"
        for item in found
        for bound in item.specifier
        if bound.operator == ">="
    )


@nox.session
def timing(session: nox.Session) -> None:
    """Hold what takes time against its limits; needs a machine that is idle."""
    session.install(*CHECKOUT, *group("test"))
    session.run("python", "-m", "pytest", "-s", "benchmarks/timing", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure everything side by side; needs Linux and two idle cores."""
    session.install(*CHECKOUT, *group("test"), *group("bench"))
    page = ("--write", "docs/topics/benchmarks.rst")
    session.run("python", "benchmarks/run.py", *(session.posargs or page))
