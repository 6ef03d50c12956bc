"""A snapshot and what follows it, without a gap; and coming back."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.test import override_settings

import turbo
from tests.observers.app.consumers import ActiveConsumer, PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.support.servers import Valkey, channel_layer
from turbo.delivery.broadcast import shut_down
from turbo.delivery.names import stream_id
from turbo.replay import Append, get_replay

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def ann() -> Person:
    person = Person.objects.create(name="Ann")
    turbo.flush()  # so that positions do not move by themselves
    return person


def shown(person: Person, **changes: Any) -> dict[str, Any]:
    values = {"id": person.pk, "name": person.name, "active": True, "team": None}
    return values | changes


def number(answer: dict[str, Any]) -> int:
    return int(answer["position"].rpartition(":")[2])


async def test_snapshot_holds_the_object_and_its_position(
    layer: str, ann: Person
) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=True)
        await ann.asave()
        first = await client.next()
        await ann.asave()
        second = await client.next()

    assert answer["data"] == shown(ann)
    assert answer["response_status"] == 201
    assert "recovered" not in answer
    start = number(answer)
    assert [number(first), number(second)] == [start + 1, start + 2]


async def test_who_does_not_ask_for_positions_is_told_of_none(ann: Person) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=False)
        await ann.asave()
        update = await client.next()

    assert "position" not in answer
    assert "position" not in update


async def test_coming_back_in_time_is_told_what_was_missed(
    layer: str, ann: Person
) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=True)
    ann.name = "Anne"
    await ann.asave()
    await sync_to_async(turbo.flush)()

    async with Client(PersonConsumer) as client:
        again = await client.ask(
            "subscribe_instance", pk=ann.pk, since=answer["position"]
        )
        missed = await client.next()

        assert again["data"] is None
        assert again["recovered"] is True
        assert again["position"] == answer["position"]
        assert (missed["action"], missed["data"]) == ("update", shown(ann))
        assert number(missed) == number(answer) + 1
        assert await client.nothing()


async def test_coming_back_to_a_deleted_object_does_not_find_it(ann: Person) -> None:
    pk = ann.pk
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=pk, snapshot=True)
    await ann.asave()
    await ann.adelete()
    await sync_to_async(turbo.flush)()

    async with Client(PersonConsumer) as client:
        again = await client.ask("subscribe_instance", pk=pk, since=answer["position"])
        guessed = await client.ask("subscribe_instance", pk=pk, since="0f:0")
        without = await client.ask("subscribe_instance", pk=pk, snapshot=True)

        for refused in (again, guessed, without):
            assert (refused["response_status"], refused["data"]) == (404, None)
        assert await client.nothing()


async def test_a_position_says_nothing_about_rows_that_are_not_shown(
    ann: Person,
) -> None:
    """Regression: `since` admitted what the queryset hides, its delete included."""
    await Person.objects.filter(pk=ann.pk).aupdate(active=False)
    async with Client(PersonConsumer) as allowed, Client(ActiveConsumer) as client:
        position = (await allowed.ask("subscribe_instance", pk=ann.pk, snapshot=True))[
            "position"
        ]
        await ann.asave(update_fields=["name"])
        await allowed.next()
        hidden = await client.ask(
            "subscribe_instance", pk=ann.pk, since=position, request_id=1
        )
        missing = await client.ask(
            "subscribe_instance", pk=ann.pk + 1, since=position, request_id=1
        )
        await ann.adelete()
        await allowed.next()

        assert hidden == missing
        assert hidden["response_status"] == 404
        assert await client.nothing()


async def test_guessed_keys_leave_nothing_in_the_log(
    valkey: Valkey, ann: Person
) -> None:
    url = valkey.url
    layers = {"default": channel_layer("redis", url)}
    with override_settings(CHANNEL_LAYERS=layers), redis.Redis.from_url(url) as log:
        async with Client(PersonConsumer) as client:
            await client.ask("subscribe_instance", pk=ann.pk, since="0f:0")
            before = sorted(log.keys())
            for pk in range(ann.pk + 1, ann.pk + 100):
                answer = await client.ask("subscribe_instance", pk=pk, since="0f:0")
                assert answer["response_status"] == 404
            after = sorted(log.keys())
        shut_down()

    assert before == after


@pytest.mark.parametrize("since", ["nonsense", "ffffffffff:3", "?"])
async def test_coming_back_too_late_is_given_the_object_anew(
    ann: Person, since: str
) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, since=since)
        await ann.asave()
        update = await client.next()

    assert answer["data"] == shown(ann)
    assert answer["recovered"] is False
    assert number(update) == number(answer) + 1


@pytest.mark.parametrize("since", [5, ["a"], "x" * 300, {}])
async def test_a_position_is_a_short_string(ann: Person, since: Any) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, since=since)

    assert answer["response_status"] == 400
    assert answer["errors"] == [{"since": ["A position is expected."]}]


async def test_what_changes_while_the_snapshot_is_read_follows_it(ann: Person) -> None:
    class SlowConsumer(PersonConsumer):
        """Is overtaken by a save between joining the stream and its answer."""

        def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal saved
            if not saved:
                saved = True
                Person.objects.get(pk=ann.pk).save()
                turbo.flush()
            return super().get_serializer(*args, **kwargs)

    saved = False
    async with Client(SlowConsumer) as client:
        answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=True)
        update = await client.next()

        assert answer["data"] == shown(ann)
        assert number(update) == number(answer) + 1
        assert await client.nothing()


async def test_missing_messages_are_made_good_by_reading_anew(ann: Person) -> None:
    """Where the log cannot tell what was lost, the object itself can."""
    name = f"observers:default:observers_app.person:{ann.pk}"
    async with Client(PersonConsumer) as client, Client(ActiveConsumer) as active:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await active.ask("subscribe_instance", request_id=2, pk=ann.pk)
        await Person.objects.filter(pk=ann.pk).aupdate(name="Anne", active=False)
        turbo.delivery.broadcast.get_publisher().put(Append(stream_id(name), None))

        update, delete = await client.next(), await active.next()

    assert (update["action"], update["data"]["name"]) == ("update", "Anne")
    assert (delete["action"], delete["data"]) == ("delete", {"pk": ann.pk})


async def test_without_a_log_there_are_no_positions(ann: Person) -> None:
    with override_settings(TURBO={"REPLAY_BACKEND": "turbo.replay.dummy.DummyReplay"}):
        assert get_replay().supports_replay is False
        async with Client(PersonConsumer) as client:
            answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=True)
            await ann.asave()
            update = await client.next()

    assert answer["data"] == shown(ann)
    assert answer["position"] == ""
    assert update["data"] == shown(ann)
    assert "position" not in update
