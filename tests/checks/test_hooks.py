"""A name that is nearly a hook is told, with the right name."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

import turbo
from tests.testapp.models import Tag
from turbo.checks.hooks import check_hooks
from turbo.checks.presence import PRESENCE_HOOKS
from turbo.checks.streams import (
    COMPONENT_HOOKS,
    HOOKS,
    MODEL_HOOKS,
    check_streams,
)
from turbo.components import BroadcastComponent

ALL = HOOKS + COMPONENT_HOOKS + MODEL_HOOKS


def told(base: type = object, **body: Any) -> list[tuple[str, str | None]]:
    """Return the wrong names in a class with this body, each with the right one."""
    found = list(check_hooks(type("Told", (base,), body), ALL))
    assert {message.id for message in found} <= {"turbo.W016"}
    return [(message.msg.split("'")[1], message.msg.split("'")[3]) for message in found]


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("on_saved", "on_save"),
        ("onSave", "on_save"),
        ("on_update", "on_save"),
        ("post_save", "on_save"),
        ("on_deletes", "on_delete"),
        ("user_passes_tests", "user_passes_test"),
        ("user_passes", "user_passes_test"),
        ("test_func", "user_passes_test"),
        ("get_broadcast_stream", "get_broadcast_streams"),
        ("templates_name", "template_name"),
    ],
)
def test_a_name_that_is_nearly_a_hook_is_told(name: str, hook: str) -> None:
    assert told(**{name: lambda self: None}) == [(name, hook)]


@pytest.mark.parametrize(
    "name",
    ["on_save", "on_load", "saved", "is_open", "_on_saved", "get_absolute_url", "user"],
)
def test_other_names_are_not_told(name: str) -> None:
    assert told(**{name: lambda self: None}) == []


def test_a_base_of_the_project_is_looked_at() -> None:
    base = type("Base", (), {"on_saved": None})

    assert told(base) == [("on_saved", "on_save")]


def test_a_class_with_the_hook_itself_may_have_a_name_like_it() -> None:
    assert told(on_save=None, on_saved=None) == []


class ByAction:
    """A class with a helper whose name is nearly that of a hook."""

    template_names: ClassVar[dict[str, str]] = {"list": "list.html"}

    def choose(self, action: str) -> str:
        return self.template_names[action]


def test_a_name_that_the_project_reads_is_not_told() -> None:
    assert told(ByAction) == []
    assert told(ByAction, template_names={}) == []


def test_the_message_names_the_class_that_has_the_name() -> None:
    class Mixin:
        on_saved = None

    class Told(Mixin):
        pass

    [message] = check_hooks(Told, ["on_save"])

    assert message.msg.startswith(f"{__name__}.{Mixin.__qualname__} has 'on_saved'")
    assert message.obj is Told


def test_what_the_library_has_is_not_told() -> None:
    assert told(turbo.Stream, Meta=type("Meta", (), {"abstract": True})) == []


def test_the_message_says_where_and_what() -> None:
    [message] = check_hooks(type("Told", (), {"on_saved": None}), ["on_save"])

    assert message.msg == (
        f"{__name__}.Told has 'on_saved', which nothing calls or reads. Did you mean "
        f"'on_save'?"
    )
    assert message.hint == "Rename it to 'on_save', or give it a less similar name."


def test_a_hook_of_another_library_is_told_with_what_to_do() -> None:
    [message] = check_hooks(
        type("Told", (), {"message": None, "_message": None}),
        ["on_save"],
        replaced={"message": "Write on_save."},
    )

    assert (
        message.msg == f"{__name__}.Told has 'message', which nothing calls or reads."
    )
    assert (message.hint, message.id) == ("Write on_save.", "turbo.W016")


@pytest.mark.usefixtures("declaring")
def test_streams_of_all_kinds_are_checked() -> None:
    class Told(turbo.Stream):
        def user_passes_tests(self, user: Any) -> bool:
            return False

    class ToldToo(turbo.ModelStream):
        class Meta:
            model = Tag
            attribute = "told"

        def on_saved(self, tag: Tag, created: bool) -> None:
            pass

    class ToldAsWell(BroadcastComponent):
        def get_contexts(self) -> dict[str, Any]:
            return {}

    class Left(BroadcastComponent):
        def compute_context(self) -> dict[str, Any]:
            return {}

    found = [m for m in check_streams() if m.id == "turbo.W016"]

    assert {message.obj for message in found} == {Told, ToldToo, ToldAsWell, Left}


@pytest.mark.parametrize("hook", ALL)
def test_every_hook_is_one(hook: str) -> None:
    bases = [turbo.ModelStream, BroadcastComponent]
    undefined = ("on_save", "on_delete", *PRESENCE_HOOKS)
    assert hook in undefined or any(hasattr(b, hook) for b in bases)
