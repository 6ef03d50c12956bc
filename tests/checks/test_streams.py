"""What declared streams promise and cannot keep is said at start."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.test import modify_settings
from django.test.utils import isolate_apps

import turbo
from tests.testapp.models import Board, Card, Custody, Message, Room, Tag
from turbo.checks.streams import check_permissions, check_streams
from turbo.components import BroadcastComponent

pytestmark = pytest.mark.usefixtures("declaring")


def declare(model: Any, name: str = "Told", **options: Any) -> None:
    """Declare a stream with these options."""
    meta = {"model": model, "attribute": f"at_{id(options)}", "app_label": "tests"}
    body = {"Meta": type("Meta", (), meta | options)}
    type(turbo.ModelStream)(name, (turbo.ModelStream,), body)


def told() -> list[tuple[str, str]]:
    found = check_streams()
    assert all(message.hint for message in found)
    return [(message.id, message.msg) for message in found]


def test_the_streams_of_the_test_app_are_in_order() -> None:
    declare(Message, broadcasts_to="room", template="testapp/hello.html", target="list")

    assert told() == []


@pytest.mark.parametrize(
    ("name", "kind"), [("boards", "not a field"), ("title", "a CharField")]
)
def test_broadcasts_to_names_a_foreign_key(name: str, kind: str) -> None:
    declare(Card, broadcasts_to=name)

    assert told() == [
        (
            "turbo.E010",
            f"tests:Told.Meta.broadcasts_to is {name!r}. "
            f"testapp.Card.{name} should be a foreign key, but it is {kind}.",
        )
    ]


def test_the_parent_has_a_stream() -> None:
    declare(Custody, broadcasts_to="person", template="testapp/hello.html")

    assert told() == [
        (
            "turbo.E011",
            "tests:Told.Meta.broadcasts_to is 'person'. testapp.Custody.person points "
            "to testapp.Person, whose instances have no stream.",
        )
    ]


def test_a_hook_is_no_coroutine() -> None:
    class Told(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "told"

        async def on_save(self, card: Card, created: bool) -> None:
            pass

        def on_delete(self, card: Card) -> None:
            pass

    assert told() == [
        ("turbo.E023", "tests:Told.on_save() is a coroutine, so it is not run.")
    ]


def test_what_a_hook_returns_is_no_coroutine() -> None:
    class Told(BroadcastComponent):
        async def get_context(self) -> dict[str, Any]:  # type: ignore[override]
            return {}

        async def user_passes_test(self, user: Any) -> bool:  # type: ignore[override]
            return True

    assert told() == [
        ("turbo.E023", "tests:Told.get_context() is a coroutine, so it is not run.")
    ]


def test_who_decides_on_audiences_declares_them() -> None:
    """A subclass whose Meta does not inherit them would show all the same."""

    class Base(turbo.Stream):
        class Meta:
            app_label = "tests"
            audiences = ("member", "moderator")

        async def get_audience(self, user: Any) -> str:
            return "member"

    class Told(Base):
        class Meta:
            app_label = "tests"

    assert told() == [
        (
            "turbo.E024",
            "tests:Told has get_audience(), but no audiences, so all pages get the "
            "same.",
        )
    ]


def test_inserts_by_is_one_of_four_verbs() -> None:
    declare(Card, broadcasts_to="board", inserts_by="replace")

    assert told() == [("turbo.E012", "tests:Told.Meta.inserts_by is 'replace'.")]


def test_the_template_is_there() -> None:
    declare(Card, broadcasts_to="board", template="testapp/none.html")

    assert told() == [
        (
            "turbo.E013",
            "tests:Told broadcasts 'testapp/none.html', which cannot be loaded. "
            "TemplateDoesNotExist: testapp/none.html",
        )
    ]


@pytest.mark.parametrize(
    "options", [{"template": "x.html"}, {"target": "x"}, {"inserts_by": "prepend"}]
)
@pytest.mark.parametrize(
    "refreshes", [{}, {"refreshes": True, "broadcasts_to": "board"}]
)
def test_an_option_without_effect(
    options: dict[str, Any], refreshes: dict[str, Any]
) -> None:
    declare(Card, **options, **refreshes)

    [name] = options
    assert told() == [
        (
            "turbo.W014",
            f"tests:Told.Meta.{name} has no effect, because nothing is inserted.",
        )
    ]


def test_what_is_overridden_is_not_checked() -> None:
    class Own(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "own"
            broadcasts_to = "nothing"

        def get_broadcast_streams(self) -> list[turbo.Stream]:
            return []

        def get_broadcast_template(self) -> str:
            return "none.html"

    assert told() == []


@isolate_apps("tests.testapp")
def test_of_an_abstract_model_each_child_has_its_own_parent_and_template() -> None:
    class Sticker(models.Model):
        board = models.ForeignKey(Board, models.CASCADE)
        album = models.ForeignKey("Album", models.CASCADE)

        class Meta:
            abstract = True
            app_label = "testapp"

    declare(Sticker, "One", broadcasts_to="board")
    declare(Sticker, "Other", broadcasts_to="album")

    assert told() == []


def test_two_streams_for_one_attribute() -> None:
    declare(Room, "Second", attribute="stream")

    (error,) = check_streams()

    assert error.id == "turbo.E005"
    assert error.msg == (
        "tests:Second and testapp:RoomStream both use the attribute "
        "testapp.Room.stream."
    )


def test_a_model_field_in_the_way() -> None:
    declare(Tag, "Named", attribute="name")

    (error,) = check_streams()

    assert error.id == "turbo.E006"
    assert error.msg == (
        "tests:Named cannot use the attribute testapp.Tag.name, which already exists "
        "(CharField)."
    )


def test_another_attribute_in_the_way() -> None:
    declare(Tag, "Saved", attribute="save")

    (error,) = check_streams()

    assert error.msg.startswith("tests:Saved cannot use the attribute testapp.Tag.save")


def test_streams_that_everybody_may_see_are_told_before_deployment() -> None:
    told = {message.obj.label for message in check_permissions()}

    assert "testapp:MessageStream" in told
    assert "testapp:RoomStream" not in told
    assert "testapp:Announcements" not in told


@pytest.mark.parametrize("whispers", ["typing", 7, ("typing", 7), [""]])
def test_whispers_are_names(whispers: Any) -> None:
    """A text would be a list of its letters."""
    declare(Tag, whispers=whispers)

    text = f"tests:Told.Meta.whispers is {whispers!r}, not a list of names."
    assert told() == [("turbo.E027", text)]


def test_presence_is_true_or_false() -> None:
    declare(Tag, presence="yes")

    assert told() == [("turbo.E028", "tests:Told.Meta.presence is 'yes'.")]


def test_hooks_need_their_option() -> None:
    class Hooked(turbo.Stream):
        class Meta:
            app_label = "tests"

        def on_join(self, user: Any) -> None: ...

        async def on_whisper(self, name: str, data: Any, user: Any) -> None: ...

    never = "is never called, because the class has no Meta"
    assert told() == [
        ("turbo.W024", f"tests:Hooked.on_join() {never}.presence."),
        ("turbo.W024", f"tests:Hooked.on_whisper() {never}.whispers."),
    ]


def test_presence_needs_users() -> None:
    declare(Tag, presence=True)

    with modify_settings(INSTALLED_APPS={"remove": "django.contrib.auth"}):
        found = told()

    text = "tests:Told has Meta.presence, but nobody can log in, so nobody is present."
    assert ("turbo.W025", text) in found
