"""What the npm package contains, and what TypeScript makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

import turbo
from tests.npm.conftest import run
from tests.support.documents import ROOT

PACKAGE = json.loads((ROOT / "package.json").read_text())
STATIC = ROOT / "turbo" / "static" / "turbo"


def semantic(version: str) -> str:
    """Return how npm writes a version: 1.2.0rc1 is 1.2.0-rc.1."""
    return re.sub(r"(a|b|rc)(\d+)$", r"-\1.\2", version)


def test_the_version_is_that_of_the_python_package() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())

    assert PACKAGE["version"] == semantic(turbo.__version__)
    assert lock["packages"][""]["version"] == PACKAGE["version"]


def test_a_candidate_has_a_version_of_npm() -> None:
    assert semantic("1.2.0rc1") == "1.2.0-rc.1"


def test_the_tools_are_those_that_make_the_wheel() -> None:
    """Turbo and esbuild are pinned in two places."""
    locks = (ROOT / "package-lock.json", ROOT / "bundle/package-lock.json")
    ours, hook = (json.loads(lock.read_text())["packages"] for lock in locks)

    for name in ("@hotwired/turbo", "esbuild"):
        path = f"node_modules/{name}"
        assert ours[path]["version"] == hook[path]["version"]
        assert ours[path]["integrity"] == hook[path]["integrity"]


def test_every_development_package_is_pinned_by_its_integrity() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = [one for name, one in lock["packages"].items() if name]

    assert all(one["integrity"].startswith("sha512-") for one in packages)
    assert not any("resolved" in one for one in packages)


def test_it_contains_the_modules_and_their_types(packed: Path) -> None:
    modules = {
        path.name
        for path in STATIC.glob("*.js")
        if path.name != "turbo.js" and not path.name.endswith(".min.js")
    }
    files = {
        path.relative_to(packed).as_posix()
        for path in packed.rglob("*")
        if path.is_file()
    }

    assert files == {
        "LICENSE",
        "README.rst",
        "bundle/turbo-channels.d.ts",
        "package.json",
        *(f"turbo/static/turbo/{name}" for name in modules),
        *(f"types/{name.replace('.js', '.d.ts')}" for name in modules),
    }


def test_every_export_is_there_with_its_types(packed: Path) -> None:
    exports = PACKAGE["exports"].copy()
    del exports["./package.json"]

    names = ("bindings", "observers", "socket", "status", "text", "whispers")
    assert exports.keys() == {".", *(f"./{name}" for name in names)}
    # Tools that know no exports read these two.
    old = {"default": PACKAGE["main"], "types": PACKAGE["types"]}
    assert exports["."] == old
    for entry in exports.values():
        assert (packed / entry["default"]).is_file()
        assert (packed / entry["types"]).is_file()


def test_node_imports_it(project: Path) -> None:
    script = project / "use.mjs"
    script.write_text(
        'import { TurboChannels } from "django-turbo-streams";\n'
        'import { connect } from "django-turbo-streams/observers";\n'
        'import { BoundList } from "django-turbo-streams/bindings";\n'
        'import { ReconnectingSocket } from "django-turbo-streams/socket";\n'
        'import "django-turbo-streams/status";\n'
        "console.log(TurboChannels.state, typeof connect,"
        " typeof BoundList, typeof ReconnectingSocket);\n"
    )

    assert run(project, "node use.mjs") == "idle function function function\n"


USE = """\
import { TurboChannels } from "django-turbo-streams";
import { connect, Refusal } from "django-turbo-streams/observers";
import { BoundList } from "django-turbo-streams/bindings";
import "django-turbo-streams/status";
import "django-turbo-streams/text";

const state: "idle" | "connecting" | "connected" | "disconnected" | "offline" |
  "denied" | "stale" = TurboChannels.state;
const id: string | undefined = window.TurboChannels?.id;
TurboChannels.reconnect();

document.addEventListener("turbo-channels:state", ({ detail }) => {
  const changed: boolean = detail.state !== detail.previous;
  console.log(changed, state, id);
});
document.addEventListener("turbo-stream:gap", (event) => {
  const name: string = event.detail.name;
  event.preventDefault();
  console.log(name);
});
document.addEventListener("turbo-channels:gave-up", ({ detail }) => {
  console.log(detail.reason.toUpperCase());
});

const people = connect("/ws/people/", { timeout: 1_000 });
const socket = connect("/ws/all/", { multiplexed: true });
try {
  const rooms = await socket.stream("rooms").list();
  for await (const { action, data } of people.observe(1)) {
    console.log(action.toUpperCase(), data, rooms);
  }
} catch (error) {
  if (error instanceof Refusal) console.log(error.status);
}
console.log(new BoundList("/ws/scores/").size.toFixed());
"""

#: What TypeScript refuses, each with the number of its error.
MISUSES = {
    'TurboChannels.state === "online";': "TS2367",
    'TurboChannels.id = "mine";': "TS2540",
    "connect(1);": "TS2345",
    'connect("/ws/", { multiplexed: true }).list();': "TS2339",
    'document.addEventListener("turbo-stream:gap", (e) => e.detail.id);': "TS2339",
}


Check: TypeAlias = Callable[[str], str]


@pytest.fixture
def check(project: Path) -> Check:
    """Check a program as strictly as TypeScript can, and the declarations with it."""
    (project / "tsconfig.json").write_text(
        json.dumps(
            {
                "compilerOptions": {
                    "strict": True,
                    "noEmit": True,
                    "target": "es2022",
                    "module": "esnext",
                    "moduleResolution": "bundler",
                    "lib": ["es2023", "dom", "dom.iterable"],
                    "types": [],
                },
                "files": ["use.ts"],
            }
        )
    )

    def run_tsc(text: str) -> str:
        (project / "use.ts").write_text(text)
        return run(project, "npx tsc")

    return run_tsc


def test_a_program_in_typescript_is_checked(check: Check) -> None:
    assert check(USE) == ""


def test_what_is_wrong_is_an_error(check: Check) -> None:
    with pytest.raises(RuntimeError) as refused:
        check("\n".join([USE, *MISUSES]))

    numbers = re.findall(r"(?m)^use\.ts.+ error (TS\d+)", str(refused.value))
    assert numbers == [*MISUSES.values()]
