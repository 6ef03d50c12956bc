"""
Run the tests: ``python3 tests/run.py [--fast | --coverage | arguments of pytest]``.

Needs Python 3.11 and pip; everything else is installed into ``.venv-test``, a database
and a Redis-compatible server included. Without arguments all tests run, but for those
of full runs. ``--fast`` runs what needs neither web servers nor a browser, in less than
a minute: the tests of the rooms that all others stand on. ``--coverage`` runs the same
as no arguments, takes half as long again, and measures the coverage of the rooms up to
``connections``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not this folder itself: some of its rooms are called like standard modules.
sys.path[:1] = [str(ROOT / ".ci"), str(ROOT / "tests" / "support")]

from environment import Environment  # noqa: E402
from rooms import core_files  # noqa: E402

# Two workers, each with servers of its own; one that is done takes work from the other.
PARALLEL = ("-n", "2", "--dist", "worksteal")

#: Folders of the rooms that all others stand on.
ROOMS = ("runtime", "replay", "changes", "delivery", "streams", "connections", "http")
FAST = ("-m", "not slow and not browser and not processes")


def main() -> None:
    environment = Environment(
        ".venv-test",
        "--editable",
        f"{ROOT}[rest,uvicorn]",
        "--group",
        f"{ROOT / 'pyproject.toml'}:test",
    )
    environment.prepare()
    # Node's tools, as the tests need them, come with the environment.
    scripts = str(Path(environment.python).parent)
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ["PATH"]])

    if sys.argv[1:] == ["--coverage"]:
        measure(environment)
    elif sys.argv[1:] == ["--fast"]:
        environment.run("-m", "pytest", *PARALLEL, *FAST, *fast_paths())
    else:
        environment.run("-m", "pytest", *(sys.argv[1:] or PARALLEL))


def fast_paths() -> list[str]:
    """Return the folders of the rooms, and the tests of what is in none."""
    tests = ROOT / "tests"
    paths = [*(tests / room for room in ROOMS), *sorted(tests.glob("test_*.py"))]
    return list(map(str, paths))


def measure(environment: Environment) -> None:
    """Run everything on two workers, then report the coverage of the core."""
    environment.run("-m", "coverage", "erase")
    environment.run("-m", "coverage", "run", "-m", "pytest", *PARALLEL)
    environment.run("-m", "coverage", "combine", "--quiet")
    environment.run("-m", "coverage", "report", f"--include={','.join(core_files())}")


if __name__ == "__main__":
    main()
