"""What a declaration may say, and what the system checks say of a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from tests.pubsub.conftest import turbo_settings
from tests.pubsub.shop.listening import CrateListenConfig
from tests.pubsub.shop.models import Pizza, Topping
from turbo.exceptions import ConfigurationError
from turbo.pubsub.checks import (
    _check,
    check_access,
    check_declarations,
    check_settings,
)
from turbo.pubsub.conf import PubSubSettings, get_pubsub_settings, redis_host
from turbo.pubsub.declarations import (
    Listenable,
    ListenableModelMixin,
    check_installed,
)
from turbo.pubsub.watching import Listening, extra_listenings, find, listenings

CRATE = "tests.pubsub.shop.listening.CrateListenConfig"


def pubsub(**settings: Any) -> Any:
    return override_settings(TURBO={"PUBSUB": settings})


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


@contextmanager
def declared(owner: Any, **attributes: Any) -> Iterator[None]:
    """Let a declaration say something else for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in attributes.items():
            patch.setattr(owner, name, value, raising=False)
        yield


def test_the_defaults() -> None:
    with pubsub():
        assert get_pubsub_settings() == PubSubSettings()
        assert (PubSubSettings().host, PubSubSettings().port) == ("127.0.0.1", 8090)
        assert (PubSubSettings().access, PubSubSettings().query_token) == (
            "anyone",
            False,
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PROT": 1}, "no setting 'PROT'"),
        ({"ACCESS": "friends"}, "'friends', which is not one of 'anyone'"),
        ({"EXTRA_MODELS": "one"}, "is a list of dotted paths"),
        ({"REDIS_HOSTS": "redis://x"}, "must pass a list"),
    ],
)
def test_wrong_settings_say_what_is_wrong(settings: Any, words: str) -> None:
    """To whoever reads them, and as a system check."""
    with pubsub(**settings):
        [message] = check_settings()
        with pytest.raises(ConfigurationError, match=words):
            redis_host()

    assert message.id == "turbo.E030"
    assert words in message.msg


def test_paths_that_lead_nowhere() -> None:
    with pubsub(AUTHENTICATE="no.where", HELLO_MESSAGES=["turbo.pubsub.conf.Nobody"]):
        assert ids(check_settings()) == ["turbo.E031", "turbo.E031", "turbo.W031"]


def test_the_first_host_is_used() -> None:
    """Its form is that of channels-redis."""
    with pubsub(REDIS_HOSTS=[("red", 1), ("blue", 2)]):
        assert redis_host() == {"host": "red", "port": 1}
        assert check_settings() == []


def test_without_redis_there_is_a_warning() -> None:
    with pubsub():
        assert redis_host() is None
        assert ids(check_settings()) == ["turbo.W031"]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["no.Where"], "No module named 'no'"),
        (["turbo.pubsub.conf.PubSubSettings"], "It is not a ModelListenConfig."),
        (["turbo.pubsub.ModelListenConfig"], "It has no model_path"),
        (["tests.pubsub.shop.listening.NowhereListenConfig"], "Nowhere"),
        (["tests.pubsub.shop.listening.ToppingListenConfig"], "already listenable"),
        ([CRATE, CRATE], "listed twice"),
    ],
)
def test_extra_models_that_cannot_be(
    paths: list[str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A system check says so, and a server, which runs none, logs it."""
    with pubsub(EXTRA_MODELS=paths):
        messages = check_declarations()
        logged = caplog.messages[:]

    assert ids(messages) == ["turbo.E032"]
    assert words in messages[0].msg
    assert messages[0].msg in logged


def test_what_is_listened_to() -> None:
    """The models with the mixin and those of the settings; a proxy is its model."""
    with override_settings(TURBO=turbo_settings()):
        assert {item.label for item in listenings()} == {"shop.Pizza", "shop.Topping"}
        assert [item.label for item in extra_listenings()] == ["shop.Crate"]
        assert isinstance(find("shop.Crate").declaration, CrateListenConfig)
    assert find("shop.Crate") is None
    assert find("shop.Topping").model is Topping


def has_access_async() -> Any:
    async def has_access(instance: Any, user: Any) -> bool:
        return False

    return has_access


@pytest.mark.parametrize(
    "hook", [lambda instance: True, has_access_async(), "no function", None]
)
def test_a_hook_that_cannot_be_called(hook: Any) -> None:
    with declared(Topping, has_access=hook), declared(Pizza, should_notify=hook):
        messages = {message.obj: message for message in check_declarations()}

    assert {m.id for m in messages.values()} == {"turbo.E033"}
    assert "def has_access(cls, instance, user)" in str(messages[Topping].hint)
    assert "def should_notify(cls, instance, action)" in str(messages[Pizza].hint)


@pytest.mark.parametrize("kind", [classmethod, staticmethod, lambda f: f])
def test_any_kind_of_method_will_do(kind: Any) -> None:
    """With the class in front, or without."""
    if kind is classmethod:
        hook = kind(lambda cls, instance, user: user == "bob")
    else:
        hook = kind(lambda instance, user: user == "bob")
    with declared(Topping, has_access=hook):
        listening = Listening(Topping, Topping)
        assert check_declarations() == []
        assert listening.admits(Topping(), "bob")
        assert not listening.admits(Topping(), "eve")


def test_a_hook_that_is_asynchronous_admits_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A coroutine is true, whatever it would have returned."""
    with declared(Topping, has_access=has_access_async()):
        listening = Listening(Topping, Topping)
        assert not listening.admits(Topping(), "bob")
        assert not listening.admits(Topping(), "eve")

    assert caplog.messages == ["has_access() of shop.Topping failed."]


def test_fields_and_serializers_that_are_not_there() -> None:
    with (
        declared(Topping, serializer_fields=("pk", "name", "colour", "__str__")),
        declared(Pizza, serializer_class="no.Serializer"),
    ):
        messages = check_declarations()

    assert {(m.id, m.obj) for m in messages} == {
        ("turbo.E034", Topping),
        ("turbo.E035", Pizza),
    }
    assert any("name 'colour'" in message.msg for message in messages)


def test_a_name_that_nothing_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in CrateListenConfig, Topping:
        monkeypatch.setattr(cls, "delete_fields", [], raising=False)

    with pubsub(EXTRA_MODELS=[CRATE]):
        model, config = check_declarations()

    assert (config.id, config.obj) == ("turbo.W016", CrateListenConfig)
    assert (model.id, model.obj) == ("turbo.W016", Topping)


@isolate_apps("tests.pubsub.shop")
def test_a_field_of_a_model_is_not_told() -> None:
    class Order(ListenableModelMixin, models.Model):
        has_success = models.BooleanField(default=False)

        class Meta:
            app_label = "shop"

    assert list(_check(Listening(Order, Order))) == []


def test_methods_of_tg_pubsub_that_nothing_calls_are_told() -> None:
    with declared(Topping, pubsub_serialize=lambda instance, serializer: {}):
        [message] = check_declarations()

    assert (message.id, message.obj) == ("turbo.W016", Topping)
    assert "serializer_class" in (message.hint or "")


def test_before_deployment_each_model_says_who_is_told() -> None:
    """Unless not everybody may connect."""
    with declared(Topping, has_access=Listenable.has_access):
        with pubsub():
            [message] = check_access()
        with pubsub(ACCESS="staff"):
            assert check_access() == []

    assert (message.id, message.obj) == ("turbo.W032", Topping)


def test_a_mixin_without_the_app_is_a_warning() -> None:
    """Nothing would be published, and nobody would know."""
    assert check_installed() == []

    apps = ["django.contrib.contenttypes", "django.contrib.auth", "tests.pubsub.shop"]
    with override_settings(INSTALLED_APPS=apps):
        messages = check_installed()

    assert {(m.id, m.obj) for m in messages} >= {
        ("turbo.W030", m) for m in (Topping, Pizza)
    }


@isolate_apps("tests.pubsub.shop")
def test_models_of_another_registry_are_not_listened_to() -> None:
    """Migrations make classes with the same bases, and the same names."""

    class Topping(models.Model):
        class Meta:
            app_label = "shop"

    listening = find("shop.Topping")

    assert listening is not None
    assert listening.model is not Topping
