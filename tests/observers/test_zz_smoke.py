import pytest
from django.contrib.auth.models import User
from tests.observers.clients import Client
from tests.observers.app.consumers import UserConsumer, RoomConsumer
from tests.testapp.models import Room
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

async def test_doc():
    u = await User.objects.acreate(username="ann")
    async with Client(UserConsumer) as c:
        print(await c.ask("retrieve", pk=u.pk))
        print(await c.ask("subscribe_instance", pk=u.pk))
        u.username = "bob"
        await u.asave()
        print(await c.next())
        await u.adelete()
        print(await c.next())
        print(await c.ask("unsubscribe_instance", pk=1, request_id=2))
        print(await c.nothing())
        print(await c.ask("nope"))
        print(await c.ask("retrieve"))
        print(await c.ask("retrieve", pk={"a":1}))

async def test_list():
    a = await Room.objects.acreate(name="a")
    async with Client(RoomConsumer) as c:
        print(await c.ask("list"))
        print(await c.ask("subscribe_list", request_id=99, snapshot=True))
        b = await Room.objects.acreate(name="b")
        print(await c.next())
        await a.adelete()
        print(await c.next())
        print(await c.ask("create", data={"name": "x"}), await c.next())
        print(await c.ask("create", data={"name": ""}))
