"""Lists: pages, filters, and what enters, changes in and leaves them."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import override_settings

import turbo
from tests.observers.app.consumers import FilteredConsumer, PersonConsumer
from tests.observers.app.models import Person, Team
from tests.observers.clients import Client
from turbo.delivery.broadcast import get_publisher
from turbo.delivery.names import stream_id
from turbo.replay import Append

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def people() -> list[Person]:
    created = [Person.objects.create(name=name) for name in ("Ann", "Bob", "Cid")]
    turbo.flush()  # so that positions do not move by themselves
    return created


def shown(person: Person) -> dict[str, Any]:
    return {
        "id": person.pk,
        "name": person.name,
        "active": person.active,
        "team": person.team_id,
    }


def told(message: dict[str, Any]) -> tuple[str, int, Any]:
    return message["action"], message["response_status"], message["data"]


async def test_list_is_everything(people: list[Person]) -> None:
    async with Client(PersonConsumer) as client:
        answer = await client.ask("list")

    assert told(answer) == ("list", 200, [shown(person) for person in people])


async def test_list_in_pages(people: list[Person]) -> None:
    async with Client(FilteredConsumer) as client:
        first = await client.ask("list")
        second = await client.ask("list", offset=2)
        wide = await client.ask("list", data={"limit": 9})
        wrong = await client.ask("list", limit="x", offset=-1)

    assert first["data"] == {
        "count": 3,
        "limit": 2,
        "offset": 0,
        "results": [shown(people[0]), shown(people[1])],
    }
    assert second["data"]["results"] == [shown(people[2])]
    assert len(wide["data"]["results"]) == 3
    assert wrong["data"] == first["data"]


@pytest.mark.parametrize("given", [{"limit": 2**63}, {"query": {"limit": 10**30}}])
async def test_no_page_is_longer_than_a_list(
    people: list[Person], given: dict[str, Any]
) -> None:
    with override_settings(TURBO={"OBSERVERS": {"MAX_LIST": 2}}):
        async with Client(FilteredConsumer) as client:
            page = (await client.ask("list", **given))["data"]

    assert (page["limit"], len(page["results"]), page["count"]) == (2, 2, 3)


async def test_list_is_filtered_and_ordered(people: list[Person]) -> None:
    people[1].active = False
    await people[1].asave()
    async with Client(FilteredConsumer) as client:
        active = await client.ask("list", query={"active": True, "ordering": "-name"})
        wrong = await client.ask("list", query={"team": "x"})

    assert [row["name"] for row in active["data"]["results"]] == ["Cid", "Ann"]
    assert wrong["response_status"] == 400
    assert "team" in wrong["errors"][0]


async def test_what_enters_changes_and_leaves_the_filter(
    layer: str, people: list[Person]
) -> None:
    ann, bob, cid = people
    team = await Team.objects.acreate(name="t")
    async with Client(FilteredConsumer) as client:
        answer = await client.ask("subscribe_list", query={"team": team.pk})
        bob.team = team
        await bob.asave()
        entered = await client.next()
        bob.name = "Bobby"
        await bob.asave()
        changed = await client.next()
        await ann.asave()
        dan = await Person.objects.acreate(name="Dan", team=team)
        created = await client.next()
        bob.team = None
        await bob.asave()
        left = await client.next()
        pk = dan.pk
        await dan.adelete()
        deleted = await client.next()
        await cid.adelete()

        assert told(answer) == ("subscribe_list", 201, None)
        assert told(entered)[:2] == ("create", 201)
        assert entered["data"] == shown(bob) | {"name": "Bob", "team": team.pk}
        assert told(changed) == ("update", 200, shown(bob) | {"team": team.pk})
        dan.pk = pk
        assert told(created) == ("create", 201, shown(dan))
        assert told(left) == ("delete", 204, {"pk": bob.pk})
        assert told(deleted) == ("delete", 204, {"pk": pk})
        assert await client.nothing()


async def test_snapshot_of_a_list(people: list[Person]) -> None:
    """It is what `list` would answer; the events cover what is on other pages, too."""
    async with Client(FilteredConsumer) as client:
        answer = await client.ask("subscribe_list", snapshot=True, limit=1)
        await people[2].asave()
        event = await client.next()

    assert answer["data"]["results"] == [shown(people[0])]
    assert told(event) == ("update", 200, shown(people[2]))
    assert event["position"].partition(":")[0] == answer["position"].partition(":")[0]


async def test_coming_back_to_a_list(people: list[Person]) -> None:
    """Nothing was missed: nothing is sent. Something was: the list is sent anew."""
    async with Client(PersonConsumer) as client:
        start = await client.ask("subscribe_list", snapshot=True)
    async with Client(PersonConsumer) as client:
        same = await client.ask("subscribe_list", since=start["position"])
        silent = await client.nothing()
    await people[0].adelete()
    await sync_to_async(turbo.flush)()
    async with Client(PersonConsumer) as client:
        anew = await client.ask("subscribe_list", since=start["position"])
        silent_again = await client.nothing()

    assert same["data"] is None
    assert same["recovered"] is True
    assert anew["data"] == [shown(person) for person in people[1:]]
    assert anew["recovered"] is False
    assert silent
    assert silent_again


async def test_missing_messages_bring_the_list_anew(people: list[Person]) -> None:
    name = "observers:default:observers_app.person"
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_list", request_id=7)
        await Person.objects.filter(pk=people[0].pk).aupdate(name="Zoe")
        get_publisher().put(Append(stream_id(name), None))
        message = await client.next()

    assert message["action"] == "snapshot"
    assert message["request_id"] == 7
    assert [row["name"] for row in message["data"]] == ["Zoe", "Bob", "Cid"]


async def test_several_lists_of_one_client(people: list[Person]) -> None:
    async with Client(FilteredConsumer) as client:
        await client.ask("subscribe_list", request_id=1, query={"active": True})
        await client.ask("subscribe_list", request_id=2, query={"active": False})
        people[0].active = False
        await people[0].asave()
        events = sorted(
            [await client.next(), await client.next()], key=lambda e: e["request_id"]
        )
        await client.ask("unsubscribe_list", request_id=1)
        await people[0].asave()
        after = await client.next()

        assert [told(event)[0] for event in events] == ["delete", "create"]
        assert (after["request_id"], after["action"]) == (2, "update")
        assert await client.nothing()


async def test_a_row_changed_twice_in_a_transaction_is_told_of_once(
    people: list[Person],
) -> None:
    def change() -> None:
        with transaction.atomic():
            dan = Person.objects.create(name="Dan")
            dan.save()
            Person.objects.create(name="Eve").delete()

    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_list")
        await sync_to_async(change)()
        event = await client.next()

        assert (event["action"], event["data"]["name"]) == ("create", "Dan")
        assert await client.nothing()


async def test_a_list_that_is_too_long_is_refused(people: list[Person]) -> None:
    with override_settings(TURBO={"OBSERVERS": {"MAX_LIST": 2}}):
        async with Client(FilteredConsumer) as client:
            answer = await client.ask("subscribe_list")
            narrow = await client.ask("subscribe_list", query={"active": False})
            await people[0].asave()

            assert answer["response_status"] == 400
            assert answer["errors"] == [
                "The list has more than 2 entries. Ask for a part of it."
            ]
            assert narrow["response_status"] == 201
            assert await client.nothing()


async def test_a_wrong_filter_is_refused() -> None:
    async with Client(FilteredConsumer) as client:
        answer = await client.ask("subscribe_list", query={"team": "x"})

    assert answer["response_status"] == 400
