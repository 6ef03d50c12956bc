"""
The project's tasks: ``nox`` runs those that a change must pass.

``nox --session lint`` runs one of them, and ``nox --session "tests(3.12-6.0)"`` runs
the tests on one interpreter with one Django. ``nox --list`` says which sessions there
are; those without a star are only run when you name them.

``python3 tests/run.py`` runs the tests without nox, on the interpreter at hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
CHECKOUT = ("--editable", ".[rest,uvicorn]")

DJANGO = "Framework :: Django :: "
PYTHONS = nox.project.python_versions(PYPROJECT)
DJANGOS = [
    name.removeprefix(DJANGO)
    for name in PYPROJECT["project"]["classifiers"]
    if name.startswith(DJANGO)
]
#: What Django does not support: 6.0 and later need Python 3.12.
UNSUPPORTED = {("3.11", "6.0"), ("3.11", "6.1")}
PAIRS = [
    nox.param(python, django, id=f"{python}-{django}")
    for python in PYTHONS
    for django in DJANGOS
    if (python, django) not in UNSUPPORTED
]


def newest() -> str:
    """Return the newest interpreter that is here."""
    here = [version for version in PYTHONS if shutil.which(f"python{version}")]
    return here[-1] if here else PYTHONS[-1]


#: The oldest pair that is supported, and the newest that is here.
ENDS = [
    pair
    for pair in PAIRS
    if pair.args in {(PYTHONS[0], DJANGOS[0]), (newest(), DJANGOS[-1])}
]

nox.options.sessions = [
    *(f"tests({pair.id})" for pair in ENDS),
    "lint",
    "types",
    "javascript",
    "docs",
    "package",
]


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def run_tests(session: nox.Session, **env: str) -> None:
    """Run pytest with the arguments of the session, or the whole suite."""
    arguments = session.posargs or ["-n", "2", "--dist", "worksteal"]
    session.run("python", "-m", "pytest", *arguments, env=env)


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def tests(session: nox.Session, django: str) -> None:
    """Run the whole suite with the newest release of one series of Django."""
    session.install(*CHECKOUT, *group("test"), f"django~={django}.0")
    run_tests(session)


@nox.session
@nox.parametrize(("python", "django"), ENDS)
def full(session: nox.Session, django: str) -> None:
    """Run the whole suite on both ends, long soaks and measured coverage included."""
    session.notify("coverage")
    session.install(*CHECKOUT, *group("test"), f"django~={django}.0")
    run_tests(session, TURBO_SOAK_SECONDS="30", TURBO_REQUIRE_BROWSER="1")


@nox.session
def upstream(session: nox.Session) -> None:
    """Run the whole suite with what Channels, Daphne and uvicorn will release next."""
    session.install(*CHECKOUT, *group("test"))
    session.install(
        "channels @ git+https://github.com/django/channels",
        "daphne @ git+https://github.com/django/daphne",
        "uvicorn[standard] @ git+https://github.com/Kludex/uvicorn",
    )
    run_tests(session)


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
def model(session: nox.Session) -> None:
    """Let random histories happen to a simulated site, by default for five minutes."""
    session.install(*CHECKOUT, *group("test"))
    seconds = session.env.get("TURBO_SOAK_SECONDS", "300")
    arguments = session.posargs or ["tests/model", "-k", "whatever_happens"]
    session.run(
        *("python", "-m", "pytest", "--timeout", "0", *arguments),
        env={"TURBO_SOAK_SECONDS": seconds},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layout and spelling, of whatever git knows or would add."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    on_files(session, "codespell")
    on_files(session, "sphinx-lint", patterns=["*.rst"])
    target = ("--target-version", DJANGOS[0])
    on_files(session, "djade", "--check", *target, patterns=["*.html"])
    on_files(session, "check-yaml", patterns=["*.yml", "*.yaml"])
    on_files(session, "check-toml", patterns=["*.toml"])
    # These two mend what they find, and fail once.
    on_files(session, "end-of-file-fixer")
    on_files(session, "trailing-whitespace-fixer")


def on_files(session: nox.Session, *tool: str, patterns: Sequence[str] = ()) -> None:
    """Run a tool on the files that match, except those that git ignores."""
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "--")
    options = {"external": True, "silent": True, "log": False}
    found = str(session.run(*listing, *patterns, **options))
    names = [name for name in found.splitlines() if Path(name).is_file()]
    session.log(f"{' '.join(tool)} ({len(names)} files)")
    session.run(*tool, *names, log=False)


@nox.session
def types(session: nox.Session) -> None:
    """Check the annotations, the public ones by a module that is never run."""
    session.install(*CHECKOUT, *group("types"))
    session.run("mypy")


@nox.session
def javascript(session: nox.Session) -> None:
    """Check the JavaScript and its types; pack it for npm, and try that in bundles."""
    session.install(*CHECKOUT, *group("test"))
    session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    for script in ("lint", "format", "types"):
        session.run("npm", "run", script)
    destination = ROOT / "build" / "npm"
    destination.mkdir(parents=True, exist_ok=True)
    session.run("npm", "pack", "--pack-destination", str(destination))
    env = {"TURBO_REQUIRE_NPM": "1"}
    session.run("python", "-m", "pytest", "-n", "2", "tests/npm", env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors; its examples run as tests."""
    session.install(*CHECKOUT, *group("docs"), *group("test"))
    session.run("python", "docs/screenshots.py")
    strict = ("-n", "-W", "--keep-going", "-q")
    session.run("sphinx-build", *strict, "-b", "html", "docs", "docs/_build/html")


#: Starts a site with what has no extra requirements.
START = """
import django, turbo
from django.conf import settings
settings.configure(INSTALLED_APPS=["daphne", "turbo", "turbo.bindings", "turbo.pubsub"])
django.setup()
from turbo.asgi import get_application
print(get_application(), turbo.__file__)
"""


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """Build what is published into dist/; start it, and the sample chat, from there."""
    session.install("build", "twine")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT), silent=True)
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    wheel = str(next(dist.glob("*.whl")))
    session.install(wheel)
    session.chdir(dist)
    session.run("python", "-m", "pip", "check")
    session.run("python", "-c", START)
    session.run("python", "-m", "zipfile", "--list", wheel)
    session.install(f"{wheel}[rest]")  # what the sample chat installs
    session.run("python", str(ROOT / "sample_chat" / "manage.py"), "check")


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in the installed and the lowest versions."""
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
    project = PYPROJECT["project"]
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
def faults(session: nox.Session) -> None:
    """Count what arrives while servers and networks fail; needs Linux and root."""
    session.install(*CHECKOUT, *group("test"))
    command = ("python", "-m", "benchmarks.faults")
    if session.posargs:
        session.run(*command, *session.posargs)
        return
    for layer in ("redis", "pubsub"):
        for scenario in ("sentinel", "cluster", "network"):
            session.run(*command, scenario, "--layer", layer)
        session.run(*command, "soak", "--seconds", "600", "--layer", layer)


@nox.session
def compare(session: nox.Session) -> None:
    """Measure the costs beside those of a former commit; needs Linux and two cores."""
    session.install(*CHECKOUT, *group("test"), *group("bench"))
    session.run("python", "-m", "benchmarks.compare", *session.posargs)


@nox.session
def growth(session: nox.Session) -> None:
    """Measure what grows with what, and draw it; needs Linux and two idle cores."""
    session.install(*CHECKOUT, *group("test"), *group("bench"))
    session.run("python", "-m", "benchmarks.growth")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure everything side by side; needs Linux and two idle cores."""
    session.install(*CHECKOUT, *group("test"), *group("bench"))
    page = ("--write", "docs/topics/benchmarks.rst")
    session.run("python", "benchmarks/run.py", *(session.posargs or page))
