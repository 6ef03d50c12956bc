"""Names, messages and changes of tenants whose objects have the same keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction

import turbo
from tests.support.servers import PATIENCE
from tests.support.tenants import closed, current_tenant, tenant, using_tenants
from tests.testapp.models import Message, Room
from tests.testapp.streams import Announcements, Counter, RoomStream
from turbo.changes import ModelChange, watch
from turbo.delivery.names import SALT, stream_id
from turbo.exceptions import NamespaceError, UnknownStreamError
from turbo.replay import get_replay
from turbo.replay.texts import TextPlace
from turbo.streams.registry import from_name
from turbo.streams.text import StreamText
from turbo.testing import assert_no_broadcasts, capture_broadcasts

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

Sent = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _tenants() -> Iterator[None]:
    with using_tenants():
        yield
    closed.clear()


def test_names_and_ids_have_the_tenant() -> None:
    plain = RoomStream(1)
    name, sid = plain.stream_name, plain.stream_id

    with tenant("acme"):
        assert plain.stream_name == f"acme/{name}"
        assert Announcements().stream_name == "acme/testapp:Announcements"
        ours = plain.stream_id
    with tenant("globex"):
        theirs = plain.stream_id

    assert len({sid, ours, theirs}) == 3


def test_a_signed_name_has_the_tenant() -> None:
    with tenant("acme"):
        payload = signing.loads(RoomStream(1).sign(User(pk=5)), salt=SALT)

    assert payload[:2] == ["acme/testapp:RoomStream:1", "5"]


def test_a_name_is_read_in_its_tenant_only() -> None:
    with tenant("acme"):
        name = Counter(1, name="a/b").stream_name
        assert from_name(name).stream_name == name
        assert from_name('testapp:Counter:["a/b"]').stream_name[:5] == "acme/"
    with tenant("globex"), pytest.raises(NamespaceError, match="'globex'") as raised:
        from_name(name)

    assert (raised.value.namespace, raised.value.current) == ("acme", "globex")
    assert isinstance(raised.value, UnknownStreamError)


def test_a_broadcast_has_the_tenant_of_its_call(sent: Sent) -> None:
    """Not that of the commit."""
    with transaction.atomic():
        with tenant("acme"):
            Announcements().update(text="Hi", id="a")
        with tenant("globex"):
            Announcements().update(text="Hi", id="a")
        assert sent == []

    assert [name for name, _ in sent] == [
        "acme/testapp:Announcements",
        "globex/testapp:Announcements",
    ]


def test_a_thread_that_waits_for_a_coroutine_sends_in_its_tenant(sent: Sent) -> None:
    """The coroutine runs in another thread, and so must bring no name of its own."""
    name = "acme/testapp:Announcements"

    async def send(text: StreamText) -> None:
        await Announcements().aupdate(text="Hi", id="a")
        await Announcements().aupdate("testapp/post.html", {}, id="b")
        async with text:
            await text.awrite("Hi")

    with tenant("acme"):
        text = Announcements().text(id="c")
        async_to_sync(send)(text)
    assert turbo.flush(PATIENCE)

    assert [each for each, _ in sent] == [name] * 3  # with the end of the text
    sid = stream_id(name)
    [stored] = async_to_sync(get_replay().texts.read)([TextPlace(sid, "c")])
    assert stored is not None
    assert stored.data == "Hi"


def test_changes_of_two_tenants_are_two() -> None:
    """One transaction writes the row with the same key in both."""
    room = Room.objects.create(name="Lobby")
    told: list[tuple[str, str]] = []

    def tell(change: ModelChange) -> None:
        told.append((current_tenant(), change.action))

    watching = watch(Room, tell)

    try:
        with transaction.atomic():
            for name in ("acme", "globex"):
                with tenant(name):
                    room.save()
            with tenant("globex"):
                room.delete()
    finally:
        watching.stop()

    assert told == [("acme", "update"), ("globex", "delete")]


def test_hooks_and_their_templates_run_in_the_tenant(sent: Sent) -> None:
    room = Room.objects.create(name="Lobby")

    with transaction.atomic(), tenant("acme"):
        Message.objects.create(room=room, text="Hi")

    assert [name for name, _ in sent] == [f"acme/testapp:RoomStream:{room.pk}"]


def test_a_tenant_that_is_gone_harms_no_save(
    sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is told to nobody, and that is logged."""
    room = Room.objects.create(name="Lobby")

    with transaction.atomic():
        with tenant("acme"):
            Message.objects.create(room=room, text="Hi")
        closed.add("acme")

    assert Message.objects.count() == 1
    assert sent == []
    assert "acme is no more" in caplog.text


def test_the_tools_for_tests_know_tenants() -> None:
    with tenant("acme"):
        room = Room.objects.create(name="Lobby")
        with capture_broadcasts(room) as captured:
            Message.objects.create(room=room, text="Hi")
        with assert_no_broadcasts(room), tenant("globex"):
            Message.objects.create(room=room, text="Hi")

    assert [element.action for element in captured] == ["append"]


def test_a_revocation_has_the_tenant(sent: Sent) -> None:
    with tenant("acme"), transaction.atomic():
        turbo.revoke(user=User(pk=5), stream=Announcements())

    [(name, data)] = sent
    assert name == "turbo:control"
    assert json.loads(data) == {
        "user": "acme/5",
        "stream": "acme/testapp:Announcements",
    }


def test_a_watcher_may_look_at_what_it_is_told(sent: Sent) -> None:
    """A change of a watcher's own is one of the same tenant."""
    seen: list[Any] = []

    def look(change: ModelChange) -> None:
        seen.append((current_tenant(), change.instance.name))
        if change.created:
            Room.objects.filter(pk=change.pk).first().save()  # type: ignore[union-attr]

    watching = watch(Room, look)
    try:
        with transaction.atomic(), tenant("acme"):
            Room.objects.create(name="Lobby")
    finally:
        watching.stop()

    assert seen == [("acme", "Lobby"), ("acme", "Lobby")]
