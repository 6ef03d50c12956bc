"""The socket: everything at first, then each change, in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

import turbo
from tests.bindings.app.models import Item, Product
from tests.bindings.clients import Rows, Talk
from tests.bindings.conftest import PATIENT, Bind
from tests.support.checking import reloading
from tests.support.servers import PATIENCE, Valkey, channel_layer, wait_until
from turbo import metrics
from turbo.bindings import BindingConsumer, send_to_group
from turbo.bindings.binding import Binding
from turbo.bindings.cache.notify import group_stream_name, stream_name
from turbo.bindings.cache.outage import with_store
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.clients.catch_up import catch_up
from turbo.delivery.broadcast import broadcast, shut_down
from turbo.delivery.hub import get_hub
from turbo.delivery.recorders import recording
from turbo.runtime.threads import turn_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["memory", "redis", "pubsub"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    kind = request.param
    url = "" if kind == "memory" else request.getfixturevalue("valkey").url
    # A pub/sub connection that breaks is noticed when the tips are compared.
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer(kind, url)},
        TURBO=PATIENT | {"TIP_INTERVAL": 1},
    ):
        yield kind
        shut_down(PATIENCE)
    forget_copies()


@pytest.fixture
def consumer(bind: Bind, layer: str) -> Callable[..., type[BindingConsumer]]:
    def make(model: Any = Product, **attributes: Any) -> type[BindingConsumer]:
        own = {"event": "shop", "page_size": 2}
        binding = bind(model, **attributes.pop("bound", {}))
        return type(
            "Consumer", (BindingConsumer,), {"binding": binding, **own, **attributes}
        )

    return make


def value(product: Product) -> dict[str, Any]:
    return {
        "model": "bindings_app.product",
        "pk": product.pk,
        "fields": {
            "name": product.name,
            "venue": product.venue,
            "stock": product.stock,
            "price": f"{product.price:.2f}",
        },
    }


async def create(name: str, **fields: Any) -> Product:
    return await Product.objects.acreate(name=name, **fields)


async def test_the_documented_case(consumer: Callable[..., Any]) -> None:
    """Sync in pages, create, update, delete, and good-bye."""
    shop = consumer(bound={"filters": {"venue": "store"}})
    a, b, c = [await create(name) for name in "abc"]
    rows, c_pk = [value(product) for product in (a, b, c)], c.pk

    async with Talk(shop) as talk:
        first, second, done = await talk.synced()
        d = await create("d")
        created = await talk.receive()
        a.name = "A"
        await a.asave()
        updated = await talk.receive()
        b.venue = "online"
        await b.asave()
        left = await talk.receive()
        await c.adelete()
        deleted = await talk.receive()
        await talk.send(disconnect=True)
        code = await talk.closed()

    epoch, number = done["version"].split(":")

    def version(later: int) -> str:
        return f"{epoch}:{int(number) + later}"

    sync = {"event": "shop", "action": "sync", "version": version(0)}
    assert first == {
        **sync,
        "page": 1,
        "pages": 2,
        "keys": [a.pk, b.pk],
        "payload": rows[:2],
    }
    assert second == {
        **sync,
        "page": 2,
        "pages": 2,
        "keys": [c_pk],
        "payload": rows[2:],
    }
    assert done == {**sync, "payload": "ok"}
    assert created == {
        "event": "shop",
        "action": "create",
        "version": version(1),
        "keys": [d.pk],
        "payload": [value(d)],
        "index": 3,
    }
    assert updated == {
        "event": "shop",
        "action": "update",
        "version": version(2),
        "keys": [a.pk],
        "payload": [value(a)],
        "index": 0,
    }
    assert left == {
        "event": "shop",
        "action": "delete",
        "version": version(3),
        "keys": [b.pk],
        "payload": [{"pk": b.pk}],
    }
    assert deleted["keys"] == [c_pk]
    assert code == 1000


async def test_an_empty_binding_has_one_empty_page(
    consumer: Callable[..., Any],
) -> None:
    async with Talk(consumer()) as talk:
        page, done = await talk.synced()

    assert (page["page"], page["pages"], page["payload"]) == (1, 1, [])
    assert done["payload"] == "ok"


async def test_what_one_user_has_missed_is_read_one_thing_at_a_time(
    bind: Bind, layer: str
) -> None:
    binding = bind(Product)()
    async with turn_of("eve"):
        hers = asyncio.ensure_future(catch_up(binding, None, "eve"))

        assert (await catch_up(binding, None, "ann")).snapshot is not None
        assert not hers.done()

    assert (await hers).snapshot is not None


async def test_resuming_needs_no_full_sync(consumer: Callable[..., Any]) -> None:
    """Whoever comes back with a version is told what it has missed."""
    shop = consumer()
    async with Talk(shop) as talk:
        version = (await talk.synced())[-1]["version"]
    for name in "ab":
        await create(name)

    async with Talk(shop, version=version) as talk:
        messages = await talk.synced()
        await create("c")
        live = await talk.receive()
        await talk.send(version=version)
        again = await talk.synced()

    assert [m["action"] for m in messages] == ["create", "create", "sync"]
    assert live["action"] == "create"
    assert [m["action"] for m in again] == ["create", "create", "create", "sync"]


@pytest.mark.parametrize("version", ["nonsense", "another:5", "@17.1f0c"])
async def test_an_unknown_version_gets_everything(
    consumer: Callable[..., Any], version: str
) -> None:
    await create("a")

    async with Talk(consumer(), version=version) as talk:
        messages = await talk.synced()

    assert [m.get("page") for m in messages] == [1, None]


async def test_a_change_of_rank_is_a_change_of_place(
    consumer: Callable[..., Any],
) -> None:
    """A scoreboard: every message says where its row stands."""
    ranking = {"get_queryset": lambda self: Item.objects.order_by("-number", "text")}
    board, rows = consumer(Item, bound=ranking), Rows()

    async with Talk(board) as talk:
        for message in await talk.synced():
            rows.take(message)
        items = [await Item.objects.acreate(text=t, number=1) for t in "abc"]
        for item, number in zip(items, (1, 5, 3), strict=True):
            item.number = number
            await item.asave()
        binding = board.binding()
        version = await sync_to_async(lambda: binding.version)()
        while rows.version != version:
            rows.take(await talk.receive())

    found = [row["fields"]["text"] for row in rows.all().values()]
    assert found == ["b", "c", "a"]


async def test_bump_and_clear_lead_to_a_full_sync(consumer: Callable[..., Any]) -> None:
    await create("a")
    shop = consumer()

    async with Talk(shop) as talk:
        first = (await talk.synced())[-1]["version"]
        await shop.binding().abump()
        bumped = await talk.synced()
        await shop.binding().aclear()
        cleared = await talk.synced()

    assert [m.get("page") for m in bumped] == [1, None]
    assert [m.get("page") for m in cleared] == [1, None]
    assert len({first, bumped[-1]["version"], cleared[-1]["version"]}) == 3


async def test_refresh_tells_what_it_finds(consumer: Callable[..., Any]) -> None:
    a = await create("a")
    shop = consumer()

    async with Talk(shop) as talk:
        await talk.synced()
        await Product.objects.filter(pk=a.pk).aupdate(name="b")
        assert await shop.binding().arefresh() == 1
        told = await talk.receive()

    assert told["action"] == "update"
    assert told["payload"][0]["fields"]["name"] == "b"


async def test_many_changes_at_once(consumer: Callable[..., Any]) -> None:
    """More than are worth a message each: the client is told what it misses."""
    shop, rows = consumer(page_size=100), Rows()

    async with Talk(shop) as talk:
        for message in await talk.synced():
            rows.take(message)
        products = [Product(name=str(number)) for number in range(300)]
        objects = turbo.ChangesQuerySet(Product)
        await sync_to_async(objects.bulk_create)(products)
        while len(rows.all()) < 300:
            rows.take(await talk.receive())

    assert len(rows.all()) == 300


async def test_messages_that_overtake_each_other_are_put_in_order(
    consumer: Callable[..., Any],
) -> None:
    """And one that never comes is read from the store."""
    shop = consumer()

    async with Talk(shop) as talk:
        epoch, number = (await talk.synced())[-1]["version"].split(":")
        slot = await sync_to_async(lambda: shop.binding().slot)()

        def tell(later: int, pk: int) -> None:
            change = {"action": "delete", "pk": pk}
            version = f"{epoch}:{int(number) + later}"
            broadcast(stream_name(slot), f"{version} {json.dumps(change)}")

        for later in (2, 1, 1):
            tell(later, pk=100 + later)
        in_order = [(await talk.receive())["keys"] for _ in range(2)]

    assert in_order == [[101], [102]]


async def test_what_is_no_change_is_dropped(consumer: Callable[..., Any]) -> None:
    """And the version that it names is not taken for reached."""
    shop = consumer(groups=["staff"])
    nonsense = ["no json", "5", "{}", '{"action":5}']
    changes = [*nonsense, '{"action":"update"}', '{"action":"order"}']

    async with Talk(shop) as talk:
        epoch, number = (await talk.synced())[-1]["version"].split(":")
        slot = await sync_to_async(lambda: shop.binding().slot)()
        before = metrics.counters()["unreadable"]
        for text in changes:
            broadcast(stream_name(slot), f"{epoch}:{int(number) + 1} {text}")
        for text in nonsense:
            broadcast(group_stream_name("staff"), text)
        await create("a")

        told = await talk.receive()
        dropped = before + len(changes) + len(nonsense)
        await asyncio.to_thread(
            wait_until, lambda: metrics.counters()["unreadable"] >= dropped
        )

    assert told["payload"][0]["fields"]["name"] == "a"
    assert metrics.counters()["unreadable"] == dropped


async def test_a_lost_message_is_read_from_the_store(
    consumer: Callable[..., Any],
) -> None:
    """Its successor shows the hole."""
    shop = consumer()

    async with Talk(shop) as talk:
        await talk.synced()
        with recording(lambda name, data: False):
            await create("a")
        await create("b")
        told = [await talk.receive() for _ in range(2)]

    assert [m["payload"][0]["fields"]["name"] for m in told] == ["a", "b"]


async def test_bad_messages_get_an_answer(consumer: Callable[..., Any]) -> None:
    async with Talk(consumer()) as talk:
        await talk.synced()
        reasons = []
        for text in ("{", "[]", '{"what": 1}', json.dumps({"version": "x" * 70_000})):
            await talk.send_text(text)
            reasons.append((await talk.receive())["reason"])
        await talk.communicator.send_to(bytes_data=b"x")
        reasons.append((await talk.receive())["reason"])
        await talk.send(ping=True)
        pong = await talk.receive()

    assert reasons == ["malformed", "not_object", "unknown_type", "too_large", "binary"]
    assert pong == {"event": "shop", "action": "pong"}


class Staff(BindingConsumer):
    """For those who may."""

    event = "shop"

    def user_passes_test(self, user: Any) -> bool:
        return bool(user.is_staff)


class AsyncStaff(Staff):
    async def user_passes_test(self, user: Any) -> bool:  # type: ignore[override]
        return bool(user.is_staff)


@pytest.mark.parametrize("base", [Staff, AsyncStaff])
async def test_who_may_not_is_refused(
    base: type[BindingConsumer], bind: Bind, layer: str
) -> None:
    shop = type("Consumer", (base,), {"binding": bind(Product)})
    ann = await User.objects.acreate(username="ann", is_staff=True)

    async with Talk(shop, user=AnonymousUser()) as talk:
        refusal, code = await talk.receive(), await talk.closed()
    async with Talk(shop, user=ann) as talk:
        welcome = await talk.synced()

    assert refusal == {"event": "shop", "action": "denied", "reason": "forbidden"}
    assert code == 4403
    assert welcome


async def test_who_may_no_longer_is_sent_away(bind: Bind, layer: str) -> None:
    """At once when the user changes, or is revoked."""
    shop = type("Consumer", (Staff,), {"binding": bind(Product)})
    ann = await User.objects.acreate(username="ann", is_staff=True)
    bob = await User.objects.acreate(username="bob", is_staff=True)

    async with Talk(shop, user=ann) as first, Talk(shop, user=bob) as second:
        await first.synced()
        await second.synced()
        fresh = await User.objects.aget(username="ann")
        fresh.is_staff = False
        await fresh.asave()
        told, code = await first.receive(), await first.closed()
        await sync_to_async(turbo.revoke)(user=bob)
        other, other_code = await second.receive(), await second.closed()

    assert told == {"event": "shop", "action": "denied", "reason": "revoked"}
    assert other == told
    assert code == other_code == 4403


async def test_who_is_deactivated_during_a_check_is_sent_away(
    consumer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if everybody may see it: it was somebody who connected."""
    ann = await User.objects.acreate(username="ann")
    shop = consumer(user_passes_test=lambda self, user: True)

    async with Talk(shop, user=ann) as talk:
        await talk.synced()
        async with reloading(monkeypatch):
            await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
            await get_hub()._recheck()
        told = await talk.receive()

    assert told == {"event": "shop", "action": "denied", "reason": "revoked"}


async def test_nothing_is_told_while_the_test_is_asked(
    consumer: Callable[..., Any],
) -> None:
    """A sign of life goes to all connections; it must not lead to rows."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(self: Any, user: Any) -> bool:
        asked.set()
        await may_answer.wait()
        return False

    shop, bound = consumer(user_passes_test=wait), consumer().binding
    open_shop = type("Open", (BindingConsumer,), {"binding": bound})
    shop.binding = bound
    await create("secret")

    async with Talk(open_shop) as other, Talk(shop) as talk:
        await other.synced()
        await asked.wait()
        # What only a look at the store can find, at the next sign of life.
        slot = await sync_to_async(lambda: bound().slot)()
        await sync_to_async(with_store)(lambda store: store.bump(slot))
        await get_hub()._beat()
        await other.synced()
        may_answer.set()
        told = [(await talk.receive())["action"]]
        while told[-1] != "denied":
            told.append((await talk.receive())["action"])

    assert told == ["denied"]


async def test_a_test_that_fails_refuses(bind: Bind, layer: str) -> None:
    def fail(self: Any, user: Any) -> bool:
        raise RuntimeError("oh no")

    attributes = {"binding": bind(Product), "user_passes_test": fail}
    shop = type("Consumer", (BindingConsumer,), attributes)

    async with Talk(shop) as talk:
        assert (await talk.receive())["reason"] == "forbidden"


async def test_groups_are_told_other_things(consumer: Callable[..., Any]) -> None:
    shop = consumer(groups=["staff"])

    async with Talk(shop) as talk:
        await talk.synced()
        await sync_to_async(send_to_group)("customers", "notice", "not for us")
        await sync_to_async(send_to_group)("staff", "notice", {"text": "Five minutes."})
        told = await talk.receive()

    assert told == {
        "event": "shop",
        "action": "notice",
        "payload": {"text": "Five minutes."},
    }


async def test_parameters_come_from_the_url(bind: Bind, layer: str) -> None:
    await create("a", stock=1)
    b = await create("b", stock=2)
    binding = bind(Product, params=["stock"], filters=lambda s: {"stock": s.stock})
    shop = type("Consumer", (BindingConsumer,), {"binding": binding})

    async with Talk(shop, url_route={"kwargs": {"stock": 2}}) as talk:
        page, _ = await talk.synced()

    assert page["keys"] == [b.pk]
    assert page["event"] == "tests:Bound"


async def test_nothing_is_broadcast_where_nobody_listens(
    bind: Bind, layer: str
) -> None:
    sent: list[str] = []
    binding: Binding = bind(Product)()
    await binding.aall()

    with recording(lambda name, data: sent.append(name)):
        await create("a")

    assert sent == []
    assert len(await binding.aall()) == 1


@pytest.mark.parametrize("layer", ["redis", "pubsub"], indirect=True)
async def test_a_redis_that_lost_everything_leads_to_a_full_sync(
    bind: Bind, layer: str, valkey: Valkey
) -> None:
    shop = type("Consumer", (BindingConsumer,), {"binding": bind(Product)})
    await create("a")
    rows = Rows()

    async with Talk(shop) as talk:
        for message in await talk.synced():
            rows.take(message)
        valkey.kill()
        b = await create("b")
        valkey.start()
        while str(b.pk) not in rows.all():
            rows.take(await talk.receive(20))
        await create("c")
        while len(rows.all()) < 3:
            rows.take(await talk.receive(20))

    assert [v["fields"]["name"] for v in rows.all().values()] == ["a", "b", "c"]
