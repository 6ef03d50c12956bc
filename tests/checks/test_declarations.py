"""What other processes do not know is named by the checks and by the doctor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core import checks as django_checks
from django.test import override_settings

from tests.support.servers import Project
from turbo.checks.declarations import check_declarations
from turbo.checks.installation import examine_installation
from turbo.checks.streams import check_streams

ASTRAY = "tests.project.astray"
#: Where it says that its classes are.
MODULE = "shop.views"


def without(*apps: str) -> list[str]:
    from django.conf import settings

    return [app for app in settings.INSTALLED_APPS if app not in apps]


def told_by(project: Project, *command: str) -> str:
    with pytest.raises(RuntimeError) as caught:
        project.manage(*command)
    told = str(caught.value)
    assert "Traceback" not in told, told
    return told


def test_the_check_names_what_the_urls_import(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(ROOT_URLCONF=ASTRAY)

    told = told_by(project, "check", "--fail-level", "WARNING")

    for name in ("TagStream", "Tags", "Articles"):
        assert f"(turbo.W018) {MODULE}.{name} was declared after the start." in told
    assert f"(turbo.W016) {MODULE}.TagStream has 'on_saved'" in told


def test_the_doctor_names_what_the_application_imports(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(ASGI_APPLICATION=f"{ASTRAY}.application", DEBUG=True)

    told = project.manage("turbo_doctor")

    for name in ("TagStream", "Tags", "Articles"):
        assert f"note  {MODULE}.{name} was declared after the start." in told


def test_the_check_names_an_app_that_is_not_installed(
    make_project: Callable[..., Project],
) -> None:
    apps = without("turbo.bindings", "tests.bindings.app")
    project = make_project(ROOT_URLCONF=ASTRAY, INSTALLED_APPS=apps)

    told = told_by(project, "check", "--fail-level", "WARNING")

    assert (
        f"(turbo.W019) {MODULE}.Tags is declared, but 'turbo.bindings' is not in "
        f"INSTALLED_APPS."
    ) in told


@pytest.mark.parametrize("section", ["BINDINGS", "OBSERVERS", "PUBSUB"])
def test_a_section_of_the_settings_needs_its_app(section: str) -> None:
    app = f"turbo.{section.lower()}"
    of_tests = [name for name in without() if name.startswith("tests.")]
    turbo: Any = {section: {"X": 1}}

    with override_settings(INSTALLED_APPS=without(app, *of_tests), TURBO=turbo):
        found = [m for m in check_declarations() if app in m.msg]

    assert [(m.id, m.msg) for m in found if m.obj is None] == [
        (
            "turbo.W019",
            f"TURBO[{section!r}] is set, but {app!r} is not in INSTALLED_APPS.",
        )
    ]


@pytest.fixture
def broken(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ModuleType:
    """URLs that cannot be imported, each time for another reason."""
    counter = ModuleType("counter")
    counter.times = 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "counter", counter)
    code = "import counter\ncounter.times += 1\nraise ValueError(counter.times)\n"
    (tmp_path / "broken_urls.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings.ROOT_URLCONF = "broken_urls"
    return counter


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("check", [check_declarations, check_streams])
def test_urls_that_cannot_be_imported_are_an_error(check: Callable[[], Any]) -> None:
    """Django's own check would import them again, and may tell of another one."""
    with pytest.raises(ValueError, match=r"^1$"):
        check()


def test_the_doctor_tells_why_the_urls_cannot_be_imported(broken: ModuleType) -> None:
    failures = [f.text for f in examine_installation() if f.decision == "failure"]

    assert failures[:1] == ["ROOT_URLCONF cannot be imported: ValueError: 1"]
    assert broken.times == 1


@pytest.mark.parametrize("app", ["turbo.bindings", "turbo.observers", "turbo.pubsub"])
def test_the_other_apps_need_the_first(
    make_project: Callable[..., Project], app: str
) -> None:
    project = make_project(
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", app],
        ROOT_URLCONF="turbo.urls",
    )

    told = told_by(project, "check", "--fail-level", "WARNING")

    assert told.count("(turbo.W019) 'turbo' is not in INSTALLED_APPS") == 1


def test_the_check_is_registered() -> None:
    assert check_declarations in django_checks.registry.registry.registered_checks
