"""Settings, system checks and discovery."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest
from django.test import override_settings

from tests.observers.app.consumers import ArticleConsumer
from turbo.exceptions import ConfigurationError
from turbo.observers import (
    AllowAny,
    AsyncAPIConsumer,
    GenericAsyncAPIConsumer,
    IsAuthenticated,
    Multiplexer,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    action,
)
from turbo.observers.checks import check_names, check_options, check_permissions
from turbo.observers.conf import ObserverSettings, get_observer_settings


def test_defaults() -> None:
    assert get_observer_settings() == ObserverSettings(
        permission_classes=(AllowAny,), max_list=10_000
    )


@pytest.mark.parametrize("given", [IsAuthenticated, "turbo.observers.IsAuthenticated"])
def test_permissions_are_classes_or_their_paths(given: Any) -> None:
    with override_settings(TURBO={"OBSERVERS": {"PERMISSION_CLASSES": [given]}}):
        assert get_observer_settings().permission_classes == (IsAuthenticated,)


@pytest.mark.parametrize(
    ("observers", "text"),
    [
        ({"NO_SUCH": 1}, "TURBO['OBSERVERS'] has no setting 'NO_SUCH'."),
        ({"PERMISSION_CLASSES": ["no.such.Class"]}, "No module named 'no'"),
    ],
)
def test_wrong_settings_are_reported(observers: Any, text: str) -> None:
    with override_settings(TURBO={"OBSERVERS": observers}):
        [error] = check_options()

    assert error.id == "turbo.E050"
    assert text in error.msg


def test_right_settings_are_not_reported() -> None:
    assert check_options() == []


def test_consumers_without_permissions_are_reported_before_deployment() -> None:
    found = {message.obj for message in check_permissions()}

    assert ArticleConsumer in found
    assert {message.id for message in check_permissions()} == {"turbo.W051"}


def test_a_name_that_nothing_reads_is_told() -> None:
    class Open(GenericAsyncAPIConsumer):
        permissions_classes = (IsAuthenticated,)

        @action()
        def get_queryset_size(self, **kwargs: Any) -> tuple[int, int]:
            return 0, 200

    class Empty(Multiplexer):
        consumer: ClassVar[Any] = {"open": Open}

    found = [(m.msg, m.obj) for m in check_names() if m.obj in (Open, Empty)]

    assert found == [
        (
            f"{Open.__module__}.{Open.__qualname__} has 'permissions_classes', which "
            f"nothing calls or reads. Did you mean 'permission_classes'?",
            Open,
        ),
        (
            f"{Empty.__module__}.{Empty.__qualname__} has 'consumer', which nothing "
            f"calls or reads. Did you mean 'consumers'?",
            Empty,
        ),
    ]


def test_methods_of_channels_that_nothing_calls_are_told() -> None:
    class Left(AsyncAPIConsumer):
        async def dispatch(self, message: Any) -> None: ...

        @action()
        async def handle_detached_task_completion(self) -> None: ...

    [message] = [m for m in check_names() if m.obj is Left]

    assert "'dispatch', which nothing calls" in message.msg
    assert "Override websocket_connect()" in (message.hint or "")


def test_a_default_that_somebody_chose_is_not_reported() -> None:
    chosen = {"OBSERVERS": {"PERMISSION_CLASSES": [IsAuthenticated]}}
    with override_settings(TURBO=chosen):
        assert check_permissions() == []


def test_consumers_of_every_app_are_discovered() -> None:
    assert "tests.observers.app.consumers" in sys.modules


def test_consumers_without_a_model_cannot_observe() -> None:
    """Abstract bases may be there; to subscribe is a mistake that has a name."""

    class Base(
        ObserverModelListMixin, ObserverModelInstanceMixin, GenericAsyncAPIConsumer
    ):
        pass

    with pytest.raises(ConfigurationError, match="needs a queryset"):
        Base().get_queryset()
    with pytest.raises(ConfigurationError, match="needs a serializer"):
        Base().get_serializer_class()
