"""Observers of tenants: groups, snapshots and permissions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.support.tenants import at, current_tenant, tenant, using_tenants
from turbo.observers import GenericAsyncAPIConsumer, action, model_observer
from turbo.observers.permissions import BasePermission

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.parametrize("layer", ["memory"], indirect=True),
    pytest.mark.usefixtures("layer"),
]


@pytest.fixture(autouse=True)
def _tenants(layer: str) -> Iterator[None]:
    with using_tenants():
        yield
    asked.clear()


#: The tenants in which permissions were asked and rows were read.
asked: list[str] = []


class Allowed(BasePermission):
    def has_permission(self, *args: Any, **kwargs: Any) -> bool:  # type: ignore[override]
        asked.append(current_tenant())
        return True


class TenantConsumer(PersonConsumer):
    permission_classes = (Allowed,)

    def get_queryset(self, **kwargs: Any) -> QuerySet[Person]:
        asked.append(current_tenant())
        return Person.objects.order_by("id")


class RowsConsumer(GenericAsyncAPIConsumer):
    queryset = Person.objects.all()

    @model_observer(Person)
    async def people(self, message: Any, **kwargs: Any) -> None:
        await self.send_json({"people": message})

    @people.serializer
    def people(self, instance: Person, action: Any, **kwargs: Any) -> Any:
        return {"name": instance.name, "tenant": current_tenant()}

    @action()
    async def follow(self, **kwargs: Any) -> tuple[None, int]:
        await self.people.subscribe()  # type: ignore[attr-defined]
        return None, 201


def save(name: str, person: Person, as_name: str) -> None:
    with tenant(name):
        person.name = as_name
        person.save()


@pytest.mark.parametrize("kind", ["instance", "list"])
async def test_events_are_those_of_the_tenant(kind: str) -> None:
    """Everything that is asked for them is asked in the tenant, too."""
    ann = await Person.objects.acreate(name="Ann")
    async with Client(TenantConsumer, **at("acme")) as client:
        arguments = {"pk": ann.pk} if kind == "instance" else {}
        await client.ask(f"subscribe_{kind}", snapshot=True, **arguments)
        await sync_to_async(save)("globex", ann, "Not ours")
        await sync_to_async(save)("acme", ann, "Ours")
        event = await client.next()

    assert (event["action"], event["data"]["name"]) == ("update", "Ours")
    assert set(asked) == {"acme"}


async def test_groups_are_those_of_the_tenant() -> None:
    ann = await Person.objects.acreate(name="Ann")
    async with (
        Client(RowsConsumer, **at("acme")) as ours,
        Client(RowsConsumer, **at("globex")) as theirs,
    ):
        await ours.ask("follow")
        await theirs.ask("follow")
        await sync_to_async(save)("globex", ann, "Bob")
        await sync_to_async(save)("acme", ann, "Eve")

        assert await ours.next() == {"people": {"name": "Eve", "tenant": "acme"}}
        event = await theirs.next()

    # The row is read when the event comes, and here both tenants have the same table.
    assert event["people"]["tenant"] == "globex"
