"""
Run the tests: ``python3 tests/run.py [--coverage | arguments of pytest]``.

Needs Python 3.11 and pip; everything else is installed into ``.venv-test``, a database
and a Redis-compatible server included. Without arguments the whole suite runs; with
``--coverage`` it takes half as long again, and the coverage of the rooms up to
``connections`` is measured.
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
    else:
        environment.run("-m", "pytest", *(sys.argv[1:] or PARALLEL))


def measure(environment: Environment) -> None:
    """Run everything on two workers, then report the coverage of the core."""
    environment.run("-m", "coverage", "erase")
    environment.run("-m", "coverage", "run", "-m", "pytest", *PARALLEL)
    environment.run("-m", "coverage", "combine", "--quiet")
    environment.run("-m", "coverage", "report", f"--include={','.join(core_files())}")


if __name__ == "__main__":
    main()
