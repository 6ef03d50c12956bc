"""Without Redis: saves go on, reads come from the database, and nothing stays stale."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from threading import get_ident

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import connections, transaction
from django.test import override_settings
from pytest_django.asserts import assertNumQueries

from tests.bindings.app.models import Product
from tests.bindings.conftest import Bind
from tests.support.connects import counting_connects
from tests.support.servers import Valkey, channel_layer, wait_until
from turbo.bindings import Binding
from turbo.bindings.cache.outage import is_reachable
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.store import get_store
from turbo.bindings.store.memory import MemoryStore
from turbo.bindings.store.redis import RedisStore
from turbo.database.store import DatabaseStore
from turbo.delivery.broadcast import shut_down

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Valkey]:
    layers = {"default": channel_layer("redis", valkey.url)}
    turbo = {"BINDINGS": {"TIMEOUT": 2}}
    with override_settings(CHANNEL_LAYERS=layers, TURBO=turbo):
        yield valkey
        if valkey.running:
            valkey.resume()
        else:
            valkey.start()
        wait_until(is_reachable)
        shut_down()
    forget_copies()


@pytest.fixture
def binding(redis: Valkey, bind: Bind) -> Binding:
    Product.objects.create(name="Tea")
    binding = bind(Product)()
    binding.all()
    return binding


def names(binding: Binding) -> list[str]:
    return [product.name for product in binding.all().values()]


def test_down_and_back_again(
    redis: Valkey, binding: Binding, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, one when it is over."""
    caplog.set_level(logging.INFO, "turbo.bindings")
    before = binding.version

    redis.kill()
    for name in ("Milk", "Salt"):
        Product.objects.create(name=name)
    during = names(binding)
    version = binding.version
    redis.start()
    wait_until(is_reachable)

    assert during == ["Tea", "Milk", "Salt"]
    assert version == ""
    assert names(binding) == during
    with assertNumQueries(0):
        assert names(binding) == during
    assert binding.version != before
    records = [r for r in caplog.records if r.name == "turbo.bindings"]
    assert [r.levelname for r in records] == ["ERROR", "WARNING"]


def test_frozen_for_a_while(redis: Valkey, binding: Binding) -> None:
    """A save waits once, and what it could not write is filled again: same epoch."""
    before = binding.version

    redis.pause()
    with counting_connects() as connects:
        for number in range(10):
            Product.objects.create(name=str(number))
        during = names(binding)
    redis.resume()
    wait_until(is_reachable)
    after = names(binding)

    assert connects.count(get_ident()) <= 1, "the others know that it is away"
    assert during == after
    assert len(after) == 11
    epoch, number_before = before.split(":")
    assert binding.version.split(":")[0] == epoch
    assert int(binding.version.split(":")[1]) > int(number_before)


def test_what_another_process_reads_is_not_stale_for_long(
    redis: Valkey, binding: Binding
) -> None:
    """The binding is marked as soon as this process reaches Redis again."""
    redis.pause()
    Product.objects.create(name="Milk")
    wait_until(lambda: not is_reachable())
    redis.resume()
    wait_until(is_reachable)

    assert get_store().peek(binding.slot) is None
    assert names(binding) == ["Tea", "Milk"]


def test_refresh_bump_and_clear_do_nothing_then(
    redis: Valkey, binding: Binding
) -> None:
    redis.kill()

    binding.bump()
    binding.clear()

    assert binding.refresh() == 0
    assert binding.last_modified is None
    assert binding.get(Product.objects.get().pk).name == "Tea"


def test_a_queryset_that_fails_harms_no_other(
    bind: Bind, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the save goes on, and the binding is filled again."""
    broken = [False]

    def get_queryset(self: Binding) -> object:
        if broken[0]:
            raise RuntimeError("oh no")
        return Product.objects.all()

    good, bad = (
        bind(Product, "Good")(),
        bind(Product, "Bad", get_queryset=get_queryset)(),
    )
    assert good.all() == bad.all() == {}

    broken[0] = True
    Product.objects.create(name="Tea")
    broken[0] = False
    wait_until(is_reachable)

    assert names(good) == names(bad) == ["Tea"]
    assert "cannot follow a change" in caplog.text


def test_a_reader_whose_database_fails_lets_others_fill(bind: Bind) -> None:
    broken = [True]

    def get_queryset(self: Binding) -> object:
        queryset = Product.objects.all()
        if broken[0]:
            return queryset.extra(where=["nonsense"])
        return queryset

    binding = bind(Product, get_queryset=get_queryset)()
    with pytest.raises(Exception, match="nonsense"):
        binding.all()

    broken[0] = False

    assert binding.all() == {}


def test_many_threads_fill_it_once(bind: Bind, store: str) -> None:
    """Whoever comes while it is being filled waits for that."""
    Product.objects.create(name="Tea")
    loads: list[int] = []
    barrier = threading.Barrier(6)

    class Counting(Binding):
        def load(self) -> list[object]:  # type: ignore[override]
            loads.append(1)
            time.sleep(0.1)
            return super().load()  # type: ignore[return-value]

    binding = type("Counted", (Counting,), {"model": Product, "__module__": __name__})()
    found: list[list[str]] = []

    def look() -> None:
        barrier.wait()
        found.append(names(binding))
        connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [["Tea"]] * 6
    assert len(loads) == 1


def test_an_open_transaction_of_another_thread_is_no_obstacle(
    bind: Bind, store: str
) -> None:
    """What it has written and not committed is seen by nobody, then by everybody."""
    binding = bind(Product)()
    with transaction.atomic():
        Product.objects.create(name="Tea")
        other: list[list[str]] = []

        def look() -> None:
            other.append(names(binding))
            connections.close_all()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert other == [[]]
    assert names(binding) == ["Tea"]


def test_a_fork_uses_connections_of_its_own(redis: Valkey, binding: Binding) -> None:
    """A child reads and writes, and the parent's connections go on."""
    connections.close_all()
    child = os.fork()
    if not child:
        try:
            Product.objects.create(name="Milk")
            assert names(binding) == ["Tea", "Milk"]
        except BaseException:
            os._exit(1)
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    assert names(binding) == ["Tea", "Milk"]


class DatabaseLayer(InMemoryChannelLayer):  # type: ignore[misc]
    __module__ = "turbo.database.layer"


def test_the_store_is_chosen_by_the_layer(valkey: Valkey) -> None:
    redis = {"default": channel_layer("redis", valkey.url)}
    database = {"default": {"BACKEND": f"{__name__}.DatabaseLayer"}}

    with override_settings(CHANNEL_LAYERS=redis):
        chosen = get_store()
    with override_settings(CHANNEL_LAYERS=database):
        beside_layer = get_store()
        with override_settings(TURBO={"BINDINGS": {"HOSTS": [valkey.url]}}):
            given = get_store()
    with override_settings(TURBO={}):
        default = get_store()

    assert [type(s) for s in (chosen, beside_layer, given, default)] == [
        RedisStore,
        DatabaseStore,
        RedisStore,
        MemoryStore,
    ]


def test_each_store_takes_its_own_settings() -> None:
    bindings = {"LOG_LENGTH": 7, "PATIENCE": 8.0, "MAX_AGE": 9.0}
    with override_settings(TURBO={"BINDINGS": bindings}):
        options = [cls.options() for cls in (MemoryStore, DatabaseStore, RedisStore)]

    common = {"length": 7, "patience": 8.0}
    assert options == [
        common,
        common | {"alias": "default", "age": 9.0},
        common | {"age": 9.0, "hosts": None, "prefix": "turbo", "timeout": 1.0},
    ]
