"""A class that other processes do not know is told, with the place where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps

import turbo
from tests.observers.app.models import Article
from turbo.observers import (
    AsyncAPIConsumer,
    GenericAsyncAPIConsumer,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    model_observer,
)
from turbo.runtime.discovery import Home, declared, misplaced

HOME = Home(app="turbo.bindings", module="bindings")


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time at which Django imports the apps."""
    with monkeypatch.context() as patch:
        patch.setattr(apps, "ready", False)
        yield


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the names of the classes in the warnings."""
    return [m.split()[0].rpartition(".")[2] for m in caplog.messages]


def test_a_class_declared_after_the_start_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Late:
        __module__ = "shop.views"

    declared(Late, HOME)
    declared(Late, HOME)

    assert caplog.messages == [
        f"shop.views.{Late.__qualname__} was declared after the start. Processes that "
        f"do not import shop.views, such as a shell or a worker, do not know it: their "
        f"changes do not reach it. Declare it in the bindings.py of an installed app, "
        f"or import it there."
    ]
    assert [found.cls for found in misplaced() if found.cls is Late] == [Late]


@pytest.mark.usefixtures("starting")
def test_a_class_declared_while_apps_are_imported_is_known_everywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Early:
        __module__ = "shop.views"

    declared(Early, HOME)

    assert caplog.messages == []
    assert Early not in [found.cls for found in misplaced()]


@pytest.mark.usefixtures("starting")
def test_a_class_whose_app_is_not_installed_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Early:
        __module__ = "shop.views"

    declared(Early, Home(app="no.such.app", module="things"))

    [found] = [found for found in misplaced() if found.cls is Early]
    assert found.lacks_app
    assert found.problem.startswith(
        f"shop.views.{Early.__qualname__} is declared, but 'no.such.app' is not in "
        f"INSTALLED_APPS. "
    )
    assert found.hint == (
        "Add 'no.such.app' to INSTALLED_APPS; declare it in the things.py of an "
        "installed app."
    )


@pytest.mark.parametrize(
    "module",
    [
        "turbo.x",
        "__main__",
        "builtins",
        "django.core.management.commands.shell",
        "chat.tests",
        "chat.tests.test_x",
        "chat.tests.support",
        "tests.support",
        "chat.room_test",
        "chat.conftest",
    ],
)
def test_classes_that_no_other_process_needs_are_not_told(
    caplog: pytest.LogCaptureFixture, module: str
) -> None:
    declared(type("Own", (), {"__module__": module}), HOME)

    assert caplog.messages == []


# --- What has to be declared in its place


@pytest.mark.usefixtures("declaring")
def test_streams(caplog: pytest.LogCaptureFixture) -> None:
    class Strayed(turbo.Stream):
        __module__ = "shop.views"

    class Base(turbo.Stream):
        __module__ = "shop.views"

        class Meta:
            abstract = True

    assert told(caplog) == ["Strayed"]
    assert "in the streams.py of" in caplog.text


def test_consumers_that_observe(caplog: pytest.LogCaptureFixture) -> None:
    class Plain(AsyncAPIConsumer):
        __module__ = "shop.views"

    class Rows(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
        __module__ = "shop.views"
        queryset = Article.objects.all()

    class Both(
        ObserverModelListMixin, ObserverModelInstanceMixin, GenericAsyncAPIConsumer
    ):
        __module__ = "shop.views"
        queryset = Article.objects.all()

    class Handler(AsyncAPIConsumer):
        __module__ = "shop.views"

        @model_observer(Article)
        async def activity(self, message: Any, **kwargs: Any) -> None:
            """Do nothing."""

    assert told(caplog) == ["Rows", "Both", "Handler"]
    assert "in the consumers.py of" in caplog.text
