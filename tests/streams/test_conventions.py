"""What two lines in ``Meta`` send, and what an override changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection, connections, models, transaction
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext, isolate_apps

import turbo
from tests.support.listening import rolled_back
from tests.testapp.models import Board, Card, Pin, Room, UuidItem
from tests.testapp.streams import Announcements, BoardStream, CardStream
from turbo.connections.permission_questions import Permission
from turbo.connections.permissions import passes
from turbo.connections.visitor import Visitor
from turbo.exceptions import ConfigurationError
from turbo.runtime.context import request_scope
from turbo.streams.conventions import parent_field, parent_stream_class
from turbo.streams.registry import from_name, resolve
from turbo.testing import StreamElement, capture_broadcasts

pytestmark = pytest.mark.django_db

real_commits = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def board() -> Board:
    return Board.objects.create(name="Work", code="w")


@pytest.fixture
def home() -> Board:
    return Board.objects.create(name="Home", code="h")


def brief(sent: list[StreamElement]) -> list[tuple[str, str, str | None]]:
    """Return whom each element was for, what it does, and where."""
    return [(e.stream.split(":", 1)[1], e.action, e.target) for e in sent]


# --- broadcasts_to


def test_a_new_instance_is_appended_on_the_pages_of_its_parent(board: Board) -> None:
    with capture_broadcasts() as sent:
        card = Card.objects.create(board=board, title="<b>")

    assert list(map(str, sent)) == [
        '<turbo-stream action="append" target="cards">'
        f'<template><li id="card_{card.pk}">&lt;b&gt;</li>\n</template></turbo-stream>'
    ]
    assert sent[0].stream == f"testapp:BoardStream:{board.pk}"


def test_a_changed_instance_is_replaced(board: Board) -> None:
    card = Card.objects.create(board=board, title="Old")

    with capture_broadcasts(board) as sent:
        card.title = "New"
        card.save()

    assert list(map(str, sent)) == [
        f'<turbo-stream action="replace" target="card_{card.pk}">'
        f'<template><li id="card_{card.pk}">New</li>\n</template></turbo-stream>'
    ]


def test_a_deleted_instance_is_removed(board: Board) -> None:
    card = Card.objects.create(board=board, title="Old")
    key = card.pk

    with capture_broadcasts(board) as sent:
        card.delete()

    assert list(map(str, sent)) == [
        f'<turbo-stream action="remove" target="card_{key}"></turbo-stream>'
    ]


@pytest.mark.usefixtures("declaring")
def test_a_template_that_is_missing_is_told_and_the_row_saved(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    class LostStream(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "lost_stream"
            broadcasts_to = "board"
            template = "testapp/lost.html"

    with capture_broadcasts(board) as sent:
        card = Card.objects.create(board=board, title="<b>")

    assert Card.objects.filter(pk=card.pk).exists()
    assert brief(sent) == [(f"BoardStream:{board.pk}", "append", "cards")]
    assert "TemplateDoesNotExist: testapp/lost.html" in caplog.text


def test_an_instance_that_moves_leaves_one_page_and_appears_on_the_other(
    board: Board, home: Board
) -> None:
    card = Card.objects.create(board=board, title="Rake")

    with capture_broadcasts() as sent:
        card.board = home
        card.save()

    assert brief(sent) == [
        (f"BoardStream:{board.pk}", "remove", f"card_{card.pk}"),
        (f"BoardStream:{home.pk}", "append", "cards"),
    ]


def test_a_move_by_a_bulk_update_is_seen_too(board: Board, home: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")

    with capture_broadcasts() as sent:
        Card.objects.filter(board=board).update(board=home)

    assert brief(sent) == [
        (f"BoardStream:{board.pk}", "remove", f"card_{card.pk}"),
        (f"BoardStream:{home.pk}", "append", "cards"),
    ]


def test_several_moves_in_one_transaction_are_one(board: Board, home: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")

    with capture_broadcasts() as sent:
        card.board = home
        card.save()
        card.board = None
        card.save()

    assert brief(sent) == [(f"BoardStream:{board.pk}", "remove", f"card_{card.pk}")]


def test_moved_and_deleted_is_removed_where_it_was_shown(
    board: Board, home: Board
) -> None:
    card = Card.objects.create(board=board, title="Rake")
    key = card.pk

    with capture_broadcasts() as sent:
        card.board = home
        card.save()
        card.delete()

    assert brief(sent) == [(f"BoardStream:{board.pk}", "remove", f"card_{key}")]


def test_who_has_no_parent_is_shown_nowhere(board: Board) -> None:
    with capture_broadcasts() as sent:
        card = Card.objects.create(title="Rake")
    assert sent == []

    with capture_broadcasts() as sent:
        card.board = board
        card.save()
    assert brief(sent) == [(f"BoardStream:{board.pk}", "append", "cards")]


def test_what_is_only_announced_has_not_moved(board: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")

    with capture_broadcasts() as sent:
        turbo.announce(card)
    assert brief(sent) == [(f"BoardStream:{board.pk}", "replace", f"card_{card.pk}")]

    with capture_broadcasts() as sent:
        turbo.announce(card, "delete")
    assert brief(sent) == [(f"BoardStream:{board.pk}", "remove", f"card_{card.pk}")]


def test_a_partial_save_shows_the_whole_instance(board: Board) -> None:
    card = Card.objects.create(board=board, title="Old")
    with turbo.suppress():
        Card.objects.filter(pk=card.pk).update(title="Newer")

    with capture_broadcasts() as sent:
        card.save(update_fields=["board"])

    assert [element.html for element in sent] == [
        f'<li id="card_{card.pk}">Newer</li>\n'
    ]


@real_commits
@pytest.mark.parametrize("moves", [False, True])
def test_a_parent_that_was_set_and_not_saved_moves_nothing(
    board: Board, home: Board, moves: bool
) -> None:
    card = Card.objects.create(board=board, title="one")

    with capture_broadcasts() as sent, transaction.atomic():
        card.board = home
        card.save(update_fields=["title"])
        if moves:
            card.board = Board.objects.create(name="Garden")
            card.save(update_fields=["board"])

    here, target = f"BoardStream:{board.pk}", f"card_{card.pk}"
    changed = [e for e in brief(sent) if e[1] != "refresh"]
    if moves:
        there = f"BoardStream:{card.board_id}"
        assert changed == [(here, "remove", target), (there, "append", "cards")]
    else:
        assert changed == [(here, "replace", target)]


def test_an_instance_that_is_gone_by_the_commit_is_not_shown(board: Board) -> None:
    card = Card.objects.create(board=board, title="Old")

    with capture_broadcasts() as sent:
        card.save(update_fields=["title"])
        with turbo.suppress():
            Card.objects.filter(pk=card.pk).delete()

    assert sent == []


def test_nothing_is_sent_for_what_is_rolled_back(board: Board) -> None:
    with capture_broadcasts() as sent, rolled_back():
        Card.objects.create(board=board, title="Rake")

    assert sent == []


def test_a_parent_is_not_loaded_to_find_its_stream(board: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")
    card = Card.objects.get(pk=card.pk)
    card.board_id = str(card.board_id)  # as a form's data might have it

    with CaptureQueriesContext(connection) as queries:
        [stream] = card.stream.get_broadcast_streams()

    assert stream.stream_name == f"testapp:BoardStream:{board.pk}"
    assert len(queries) == 0


def test_a_cascade_removes_from_the_page_of_the_parent(board: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")
    key, card_key = board.pk, card.pk

    with capture_broadcasts(board) as sent:
        board.delete()

    assert (f"BoardStream:{key}", "remove", f"card_{card_key}") in brief(sent)


@pytest.mark.parametrize("verb", ["append", "prepend", "before", "after"])
@pytest.mark.usefixtures("declaring")
def test_meta_overrides_each_convention(board: Board, verb: str) -> None:
    class Line(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = f"line_{verb}"
            broadcasts_to = "board"
            template = "testapp/hello.html"
            target = "lines"
            inserts_by = verb

    with capture_broadcasts(board) as sent:
        Card.objects.create(board=board, title="Rake")

    assert list(map(str, sent))[1:] == [
        f'<turbo-stream action="{verb}" target="lines">'
        "<template><p></p>\n</template></turbo-stream>"
    ]


@pytest.mark.usefixtures("declaring")
def test_methods_override_each_convention(board: Board) -> None:
    class Ticket(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "ticket"

        def get_broadcast_streams(self) -> Sequence[turbo.Stream]:
            return [Announcements(), self.instance.board.stream]

        def get_broadcast_template(self) -> str:
            return "testapp/hello.html"

        def get_broadcast_context(self) -> dict[str, Any]:
            return {"name": self.instance.title}

        def get_broadcast_target(self) -> str:
            return "tickets"

        def get_broadcast_id(self) -> str:
            return f"ticket-{self.pk}"

    with capture_broadcasts(Announcements) as sent:
        card = Card.objects.create(board=board, title="Rake")
        key = card.pk
    assert list(map(str, sent)) == [
        '<turbo-stream action="append" target="tickets">'
        "<template><p>Rake</p>\n</template></turbo-stream>"
    ]

    with capture_broadcasts(Announcements) as sent:
        card.save()
    assert brief(sent) == [("Announcements", "replace", f"ticket-{key}")]

    with capture_broadcasts(Announcements) as sent:
        card.delete()
    assert brief(sent) == [("Announcements", "remove", f"ticket-{key}")]


@pytest.mark.usefixtures("declaring")
def test_hooks_run_after_the_conventions(board: Board) -> None:
    class Loud(turbo.ModelStream):
        class Meta:
            model = Card
            attribute = "loud"
            broadcasts_to = "board"

        def on_save(self, card: Card, created: bool, **kwargs: Any) -> None:
            text = " ".join([str(created), *sorted(kwargs)])
            card.board.stream.update(text=text, id="status")

        def on_delete(self, card: Card) -> None:
            card.board.stream.update(text="gone", id="status")

    with capture_broadcasts(board) as sent:
        card = Card.objects.create(board=board, title="Rake")
    assert [e.html for e in sent][2:] == ["True update_fields using"]

    with capture_broadcasts(board) as sent:
        card.delete()
    assert [e.action for e in sent] == ["remove", "remove", "update"]


@pytest.mark.usefixtures("declaring")
def test_a_hook_for_deletes_alone_hears_no_saves() -> None:
    class Grave(turbo.ModelStream):
        class Meta:
            model = UuidItem
            attribute = "grave"

        def on_delete(self, item: UuidItem) -> None:
            Announcements().update(text=item.name, id="grave")

    with capture_broadcasts() as sent:
        item = UuidItem.objects.create(name="x")
    assert sent == []

    with capture_broadcasts() as sent:
        item.delete()
    assert [e.html for e in sent] == ["x"]


def test_a_card_is_read_if_it_may_have_moved_and_after_a_partial_save(
    board: Board,
) -> None:
    card = Card.objects.create(board=board, title="Old")

    def cost(change: Callable[..., Any], **options: Any) -> int:
        with CaptureQueriesContext(connection) as queries, capture_broadcasts() as sent:
            change(**options)
        assert len(sent) == 1
        return len(queries)

    assert cost(card.save) == 2
    assert cost(card.save, update_fields=["title"]) == 2
    assert cost(card.delete) == 2


def test_a_card_that_another_process_has_moved_is_moved_back_everywhere(
    board: Board, home: Board
) -> None:
    card = Card.objects.create(board=board, title="Rake")
    with turbo.suppress():
        Card.objects.filter(pk=card.pk).update(board=home)

    with capture_broadcasts() as sent:
        card.save()

    assert brief(sent) == [
        (f"BoardStream:{home.pk}", "remove", f"card_{card.pk}"),
        (f"BoardStream:{board.pk}", "append", "cards"),
    ]


def test_a_card_that_another_process_has_moved_is_removed_there(
    board: Board, home: Board
) -> None:
    card = Card.objects.create(board=board, title="Rake")
    with turbo.suppress():
        Card.objects.filter(pk=card.pk).update(board=home)
    target = f"card_{card.pk}"

    with capture_broadcasts() as sent:
        card.delete()

    assert brief(sent) == [(f"BoardStream:{home.pk}", "remove", target)]


def test_a_mass_delete_costs_no_query(board: Board) -> None:
    with turbo.suppress():
        Card.objects.bulk_create(Card(board=board, title=f"{n}") for n in range(20))

    with CaptureQueriesContext(connection) as queries, capture_broadcasts() as sent:
        Card.objects.all().delete()

    assert [q["sql"].partition(" ")[0] for q in queries] == ["SELECT", "DELETE"]
    assert [e.action for e in sent] == ["remove"] * 20


def test_a_move_over_another_move_is_seen(board: Board, home: Board) -> None:
    card = Card.objects.create(board=board, title="Rake")
    Card.objects.filter(pk=card.pk).update(board=None)

    with capture_broadcasts() as sent:
        card.board = home
        card.save()

    assert brief(sent) == [(f"BoardStream:{home.pk}", "append", "cards")]


# --- refreshes


def test_a_refresh_reads_nothing(board: Board) -> None:
    def cost(change: Callable[..., Any], **options: Any) -> int:
        with CaptureQueriesContext(connection) as queries, capture_broadcasts() as sent:
            change(**options)
        assert [name for name, *_ in brief(sent)] == ["BoardStream", own]
        return len(queries)

    own = f"BoardStream:{board.pk}"
    assert cost(board.save) == 1
    assert cost(board.save, update_fields=["name"]) == 1


def test_a_new_instance_refreshes_the_pages_of_all() -> None:
    with capture_broadcasts() as sent:
        Board.objects.create(name="Work")

    assert [(e.stream, str(e)) for e in sent] == [
        ("testapp:BoardStream", '<turbo-stream action="refresh"></turbo-stream>')
    ]


@pytest.mark.parametrize("change", [Board.save, Board.delete])
def test_a_change_refreshes_its_own_pages_too(board: Board, change: Any) -> None:
    key = board.pk

    with capture_broadcasts() as sent:
        change(board)

    assert brief(sent) == [
        ("BoardStream", "refresh", None),
        (f"BoardStream:{key}", "refresh", None),
    ]


def test_both_options_refresh_the_pages_of_the_parent(
    board: Board, home: Board
) -> None:
    with capture_broadcasts() as sent:
        pin = Pin.objects.create(board=board, color="red")
    assert brief(sent) == [
        (f"BoardStream:{board.pk}", "refresh", None),
        ("PinStream", "refresh", None),
    ]

    with capture_broadcasts() as sent:
        pin.board = home
        pin.save()
    assert brief(sent) == [
        (f"BoardStream:{board.pk}", "refresh", None),
        (f"BoardStream:{home.pk}", "refresh", None),
        ("PinStream", "refresh", None),
        (f"PinStream:{pin.pk}", "refresh", None),
    ]


def test_the_refresh_says_whose_request_it_answers(board: Board) -> None:
    with request_scope("r-1"), capture_broadcasts(board) as sent:
        board.save()
        Pin.objects.create(board=board, color="red")

    assert set(map(str, sent)) == {
        '<turbo-stream action="refresh" request-id="r-1"></turbo-stream>'
    }


@real_commits
def test_a_transaction_refreshes_each_stream_once(board: Board, home: Board) -> None:
    with capture_broadcasts() as sent, transaction.atomic():
        for parent in (board, board, home):
            Pin.objects.create(board=parent, color="red")
    assert [name for name, *_ in brief(sent)] == [
        f"BoardStream:{board.pk}",
        "PinStream",
        f"BoardStream:{home.pk}",
    ]

    keys = list(Pin.objects.filter(board=board).values_list("pk", flat=True))
    with capture_broadcasts() as sent:
        Pin.objects.filter(board=board).delete()
    assert sorted(name for name, *_ in brief(sent)) == [
        f"BoardStream:{board.pk}",
        "PinStream",
        *[f"PinStream:{key}" for key in sorted(keys)],
    ]


@real_commits
def test_every_transaction_refreshes(board: Board) -> None:
    def save() -> None:
        board.save()
        connections.close_all()  # of this thread

    with capture_broadcasts(BoardStream) as sent:
        with transaction.atomic(using="other"):
            Board.objects.using("other").create(name="first, but committed last")
            board.save()
            with transaction.atomic():
                board.save()
        thread = threading.Thread(target=save)
        thread.start()
        thread.join()

    assert len(sent) == 4


@real_commits
@pytest.mark.usefixtures("declaring")
def test_a_hook_is_a_transaction_of_its_own(board: Board) -> None:
    class Twice(turbo.ModelStream):
        class Meta:
            model = Pin
            attribute = "twice"

        def on_save(self, pin: Pin, created: bool) -> None:
            if pin.color == "red":
                pin.color = "blue"
                pin.save()

    with capture_broadcasts(board) as sent, transaction.atomic():
        Pin.objects.create(board=board, color="red")
        Pin.objects.create(board=board, color="green")

    # Once for both pins, and once for the pin that the hook has saved.
    assert brief(sent) == [(f"BoardStream:{board.pk}", "refresh", None)] * 2


# --- The stream of all instances


def test_the_collection_is_called_as_the_class_is() -> None:
    collection = BoardStream.collection()

    assert collection.stream_name == "testapp:BoardStream"
    assert repr(collection) == "<CollectionStream 'testapp:BoardStream'>"
    for value in ("testapp:BoardStream", BoardStream, collection):
        assert resolve(value).stream_name == "testapp:BoardStream"


def test_a_page_subscribes_to_the_collection_by_name() -> None:
    template = Template(
        '{% load turbo_streams %}{% turbo_subscribe "testapp:BoardStream" %}'
    )

    assert "<turbo-channels-stream-source " in template.render(Context())


def test_the_collection_has_verbs() -> None:
    with capture_broadcasts(BoardStream) as sent:
        BoardStream.collection().append(text="Work", id="boards")

    assert brief(sent) == [("BoardStream", "append", "boards")]


def test_there_is_no_collection_without_refreshes() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_name("testapp:CardStream")

    assert str(caught.value) == (
        "The stream name 'testapp:CardStream' needs the key of a Card. "
        "For a stream of all instances, set Meta.refreshes = True."
    )


async def test_everybody_may_hear_of_the_collection_unless_the_class_says_who() -> None:
    collection = BoardStream.collection()

    assert not collection.tests_user()
    assert collection.user_passes_test(AnonymousUser())
    assert await passes([collection], Visitor({"user": AnonymousUser()})) == [
        Permission()
    ]


@pytest.mark.usefixtures("declaring")
async def test_the_class_says_who_may_hear_of_the_collection() -> None:
    class Private(turbo.ModelStream):
        class Meta:
            model = Room
            attribute = "private"
            refreshes = True

        @classmethod
        def collection_passes_test(cls, user: Any) -> bool:
            return bool(user.is_authenticated)

    class Later(turbo.ModelStream):
        class Meta:
            model = Room
            attribute = "later"
            refreshes = True

        @classmethod
        async def collection_passes_test(cls, user: Any) -> bool:
            return bool(user.is_authenticated)

    collections = [Private.collection(), Later.collection()]

    assert [collection.tests_user() for collection in collections] == [True, True]
    assert await passes(collections, Visitor({"user": AnonymousUser()})) == [
        Permission("forbidden"),
        Permission("forbidden"),
    ]


# --- The parent


def test_parent_field_must_be_a_foreign_key() -> None:
    assert parent_field(Card, "board").name == "board"
    for name, kind in [("boards", "not a field"), ("title", "a CharField")]:
        with pytest.raises(ConfigurationError) as caught:
            parent_field(Card, name)
        assert str(caught.value) == (
            f"testapp.Card.{name} should be a foreign key, but it is {kind}."
        )


@isolate_apps("tests.testapp")
def test_parent_must_have_a_stream() -> None:
    class Owner(models.Model):
        class Meta:
            app_label = "testapp"

    class Pet(models.Model):
        owner = models.ForeignKey(Owner, models.CASCADE)

        class Meta:
            app_label = "testapp"

    assert parent_stream_class(parent_field(Card, "board")) is BoardStream
    with pytest.raises(ConfigurationError) as caught:
        parent_stream_class(parent_field(Pet, "owner"))

    assert str(caught.value) == (
        "testapp.Pet.owner points to testapp.Owner, whose instances have no stream."
    )


def test_a_stream_with_conventions_watches() -> None:
    assert BoardStream.watches()
    assert not BoardStream.broadcasts()
    assert CardStream.watches()
    assert CardStream.broadcasts()
