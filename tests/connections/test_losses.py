"""Changes that nobody can name reach all pages, those that are away included."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser

from tests.support.clients import Socket, signed_now
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Counter
from turbo.changes import captured
from turbo.connections.permissions import revoked
from turbo.connections.visitor import Visitor
from turbo.delivery.broadcast import flush
from turbo.delivery.losses import loss_in, tell_of_loss
from turbo.replay import get_replay
from turbo.runtime.context import report_scope

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "_captured", {Room})


async def test_each_stream_gets_a_gap_once() -> None:
    nobody = AnonymousUser()
    async with Socket(nobody) as first, Socket(nobody) as second:
        await first.subscribe(Announcements().sign(), Counter(1).sign())
        await second.subscribe(Announcements().sign())

        await sync_to_async(tell_of_loss)()

        gaps = [await first.receive() for _ in range(2)]
        assert {gap["type"] for gap in gaps} == {"gap"}
        assert {gap["stream"] for gap in gaps} == {
            Announcements().stream_id,
            Counter(1).stream_id,
        }
        assert (await second.receive())["type"] == "gap"
        Announcements().append(text="next", id="a")
        assert (await second.receive())["type"] == "message"


async def test_a_page_that_was_away_asks_for_another_name() -> None:
    signed = await signed_now(Announcements())
    await sync_to_async(tell_of_loss)()
    assert await sync_to_async(flush)()
    await get_replay().sync_clock()
    later = await signed_now(Announcements())

    async with Socket(AnonymousUser()) as socket:
        [answer] = await socket.subscribe(signed)
        assert (answer["type"], answer["reason"]) == ("denied", "expired")
        [answer] = await socket.subscribe(later)
        assert answer["type"] == "subscribed"


async def test_a_check_of_permissions_ends_nothing() -> None:
    """A page that is there has had its gap."""
    signed = await signed_now(Announcements())
    async with Socket(AnonymousUser()) as socket:
        await socket.subscribe(signed)
        await sync_to_async(tell_of_loss)()
        assert (await socket.receive())["type"] == "gap"
        assert await sync_to_async(flush)()

    visitor = Visitor({"user": AnonymousUser()})
    assert await revoked([signed], visitor) == set()


def test_the_changes_of_one_transaction_are_one_loss(
    sent: list[tuple[str, str]],
) -> None:
    with report_scope():
        tell_of_loss()
        tell_of_loss()

    [(_, data)] = sent
    assert loss_in(data)
    assert loss_in('{"user":"lost"}') is None
    assert loss_in(None) is None
