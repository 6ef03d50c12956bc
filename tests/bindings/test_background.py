"""A save does not wait for the store; who reads in the same process sees it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import override_settings

import turbo
from tests.bindings.app.models import Product
from tests.bindings.conftest import Bind
from tests.support.servers import PATIENCE, Valkey, channel_layer, wait_until
from turbo.bindings import Binding
from turbo.bindings.cache.outage import is_reachable
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.store import get_store
from turbo.bindings.store.redis import RedisStore
from turbo.delivery.broadcast import get_publisher, shut_down

pytestmark = pytest.mark.django_db(transaction=True)


class Held(RedisStore):
    """A store that answers nothing while it is held."""

    is_free = threading.Event()
    asked: ClassVar[list[int]] = []

    def names(self, groups: Any) -> Any:
        Held.asked.append(threading.get_ident())
        assert Held.is_free.wait(PATIENCE)
        return super().names(groups)


@pytest.fixture
def binding(valkey: Valkey, bind: Bind) -> Iterator[Binding]:
    layers = {"default": channel_layer("redis", valkey.url)}
    bindings = {"BACKEND": f"{__name__}.Held", "TIMEOUT": PATIENCE, "WAIT": PATIENCE}
    with override_settings(
        CHANNEL_LAYERS=layers, TURBO={"BINDINGS": bindings, "PUBLISH_QUEUE": 20}
    ):
        Held.is_free.set()
        Product.objects.create(name="Tea")
        binding = bind(Product)()
        binding.all()
        Held.is_free.clear()
        Held.asked.clear()
        yield binding
        Held.is_free.set()
        wait_until(is_reachable)
        shut_down(PATIENCE)
    forget_copies()


def names(binding: Binding) -> list[str]:
    return [product.name for product in binding.all().values()]


def test_a_save_does_not_wait_for_the_store(binding: Binding) -> None:
    """Regression: while Redis was away, each writer waited for up to 1.4 s."""
    before = get_store().peek(binding.slot)

    Product.objects.create(name="Milk")
    with transaction.atomic():
        Product.objects.create(name="Salt")

    assert get_store().peek(binding.slot).version == before.version  # type: ignore[union-attr]
    wait_until(lambda: get_publisher().waiting() == 2)
    assert threading.get_ident() not in Held.asked
    Held.is_free.set()
    assert turbo.flush(PATIENCE)
    assert get_store().peek(binding.slot).version.number == 3  # type: ignore[union-attr]


def test_a_reader_of_this_process_waits_for_what_it_has_saved(
    binding: Binding,
) -> None:
    before = binding_version(binding)
    product = Product.objects.create(name="Milk")
    threading.Timer(0.05, Held.is_free.set).start()

    assert binding.version != before
    Product.objects.create(name="Salt")
    assert names(binding) == ["Tea", "Milk", "Salt"]
    Product.objects.filter(pk=product.pk).first().delete()  # type: ignore[union-attr]
    assert binding.get(product.pk) is None


def binding_version(binding: Binding) -> str:
    state = get_store().peek(binding.slot)
    return str(state.version) if state else ""


def test_a_reader_who_has_waited_long_enough_reads_the_database(
    binding: Binding, settings: Any
) -> None:
    bindings = settings.TURBO["BINDINGS"] | {"WAIT": 0.01}
    Product.objects.create(name="Milk")
    settings.TURBO = settings.TURBO | {"BINDINGS": bindings}

    assert names(binding) == ["Tea", "Milk"]
    assert binding.version == ""


def test_a_row_that_is_saved_again_waits_once(binding: Binding) -> None:
    product = Product.objects.create(name="Milk")
    wait_until(lambda: len(Held.asked) == 1)

    for number in range(5):
        product.name = str(number)
        product.save()
    wait_until(lambda: get_publisher().waiting() == 2)
    Held.is_free.set()

    assert names(binding) == ["Tea", "4"]
    assert len(Held.asked) == 2


def test_more_than_can_wait_is_read_again(
    binding: Binding, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(25):
        Product.objects.create(name=str(number))
    assert get_publisher().waiting() <= 21
    Held.is_free.set()
    wait_until(is_reachable)

    assert turbo.flush(PATIENCE)
    assert names(binding) == ["Tea", *map(str, range(25))]
    assert "Too many changes wait for the store of the bindings" in caplog.text


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_work_that_fails_does_not_end_the_threads(
    binding: Binding,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """Neither the one that does it, nor the one that tries again in an outage."""
    failed: list[Any] = []

    def fail(self: Any, groups: Any) -> Any:
        failed.append(groups)
        raise error("no names")

    caplog.set_level(logging.INFO, "turbo.failures")
    with monkeypatch.context() as patched:
        patched.setattr(Held, "names", fail)
        Product.objects.create(name="Milk")
        wait_until(lambda: len(failed) > 2, what="it is tried again, twice")
    assert "could not be brought up to date" in caplog.text
    Held.is_free.set()
    wait_until(is_reachable)

    assert names(binding) == ["Tea", "Milk"]
    Product.objects.create(name="Salt")
    assert turbo.flush(PATIENCE)
    assert names(binding) == ["Tea", "Milk", "Salt"]


SCRIPT = """
import json
from tests.bindings.app.bindings import StoreProducts
from tests.bindings.app.models import Product
{work}
binding = StoreProducts()
names = [product.name for product in binding.all().values()]
print(json.dumps([names, binding.version]))
"""


@pytest.mark.parametrize("layer", ["redis", "pubsub", "sqlite"])
def test_a_process_that_ends_at_once_has_brought_it_up_to_date(
    make_project: Callable[..., Any], layer: str
) -> None:
    project = make_project(layer)
    first, before = json.loads(project.shell(SCRIPT.format(work="")))
    save = "import json; from tests.bindings.app.models import Product\n"
    project.shell(save + "for n in range(3): Product.objects.create(name=str(n))")

    last, after = json.loads(project.shell(SCRIPT.format(work="")))

    assert last == [*first, "0", "1", "2"]
    assert after.split(":")[0] == before.split(":")[0]
    assert int(after.split(":")[1]) > int(before.split(":")[1])
