"""What is kept is what the queryset gives: every field, and the order."""

from __future__ import annotations

import datetime
import decimal
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F, QuerySet
from django.db.models.functions import Length
from django.db.models.signals import post_init
from pytest_django import DjangoDbBlocker
from pytest_django.asserts import assertNumQueries

from tests.bindings.app.models import Everything, Item, Product
from tests.bindings.conftest import Bind
from tests.bindings.databases import ALIAS, postgres_database
from tests.support.servers import Postgres
from turbo.bindings.cache.reading import forget_copies


@pytest.fixture(scope="module")
def postgres_alias(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    yield from postgres_database(postgres, django_db_blocker, name="bindings-rows")


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.django_db(transaction=True)),
        "postgres",
    ]
)
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield "default"
        return
    yield request.getfixturevalue("postgres_alias")
    call_command("flush", database=ALIAS, interactive=False, verbosity=0)


ZONE = datetime.timezone(datetime.timedelta(hours=2))


def test_every_field_comes_back(alias: str, bind: Bind, store: str) -> None:
    """Value by value, of the same type, as the database gives it."""
    objects = Everything.objects.using(alias)
    product = Product.objects.using(alias).create(name="Tea")
    objects.create()
    objects.create(
        big=-(2**60),
        binary=bytes(range(256)),
        boolean=True,
        date=datetime.date(2024, 2, 29),
        datetime=datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, ZONE),
        decimal=decimal.Decimal("-123456789012345.12345"),
        duration=datetime.timedelta(days=-3, microseconds=7),
        file="a/b.txt",
        floating=1e-300,
        ip="2001:db8::1",
        json={"n": 1.5, "list": [1, None, "ü"], "day": datetime.date(2024, 1, 1)},
        product=product,
        text="  \u2028 \U0001f375 ",
        time=datetime.time(12, 30, 0, 5),
    )
    binding = bind(Everything, using=alias)()
    names = [field.attname for field in Everything._meta.concrete_fields]

    def values(rows: Any) -> list[list[Any]]:
        return [
            [bytes(v) if isinstance(v, memoryview) else v for v in map(row.get, names)]
            for row in map(vars, rows)
        ]

    binding.all()
    forget_copies()
    with assertNumQueries(0, using=alias):
        found = values(binding.all().values())

    expected = values(objects.order_by("pk"))
    assert found == expected
    assert [[type(v) for v in row] for row in found] == [
        [type(v) for v in row] for row in expected
    ]


@pytest.mark.django_db(transaction=True)
def test_instances_share_nothing(bind: Bind, store: str) -> None:
    """What one reader does to a value is not seen by the next."""
    Everything.objects.create(json={"list": [1]})
    binding = bind(Everything)()

    [first] = binding.all().values()
    first.json["list"].append(2)

    [second] = binding.all().values()
    assert second.json == {"list": [1]}


def random_item(chance: random.Random) -> dict[str, Any]:
    """Return values that often collide, and that are often missing."""

    def some(*values: Any) -> Any:
        return chance.choice(values)

    moment = datetime.datetime(2024, 1, some(1, 2), 0, 0, some(0, 1), some(0, 5), ZONE)
    return {
        "text": some("", "a", "B", "b", "ä", "Z", "a b", "ab", "_"),
        "number": some(None, -5, 0, 3, 2**31 - 1, -(2**31)),
        "floating": some(-1.5, -0.0, 0.0, 1e-9, 1e300, -1e300),
        "decimal": some(*map(decimal.Decimal, ("-2.5", "0", "0.001", "99999.999"))),
        "moment": some(None, moment),
        "date": some(None, datetime.date(1969, 1, 1), datetime.date(2024, 1, 1)),
        "time": some(None, datetime.time(1), datetime.time(1, 0, 0, 1)),
        "duration": some(None, *(datetime.timedelta(hours=h) for h in (-1, 0, 1))),
        "key": uuid.UUID(int=chance.choice([0, 1, 2**127, 2**128 - 1])),
        "flag": some(False, True),
    }


ORDERS: dict[str, tuple[list[Any], bool]] = {
    "none": ([], False),
    "pk": (["-pk"], False),
    "number": (["number"], False),
    "-number": (["-number", "-pk"], False),
    "mixed": (["flag", "-floating", "decimal"], False),
    "times": (["moment", "-date", "time", "-duration"], False),
    "uuid": (["-key", "number"], False),
    "text": (["text"], True),
    "-text": (["-text", "number"], True),
    "expression": ([Length("text").desc(), F("number").asc(nulls_last=True)], True),
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_the_querysets(alias: str, bind: Bind, order: str) -> None:
    """After many changes, and with ties broken by the primary key."""
    terms, listed = ORDERS[order]

    def get_queryset(self: Any) -> QuerySet[Item]:
        return Item.objects.exclude(flag=True, number=0).order_by(*terms)

    binding = bind(Item, using=alias, get_queryset=get_queryset)()
    objects = Item.objects.using(alias)
    chance = random.Random(order)
    binding.all()

    for _ in range(40):
        item = chance.choice([None, *objects.all()])
        if item is None or chance.random() < 0.3:
            objects.create(**random_item(chance))
        elif chance.random() < 0.2:
            item.delete()
        else:
            for name, value in random_item(chance).items():
                if chance.random() < 0.3:
                    setattr(item, name, value)
            item.save()

    assert binding.slot.listed is listed
    expected = get_queryset(binding).using(alias).order_by(*terms, "pk")
    with assertNumQueries(0, using=alias):
        found = binding.keys()
    assert found == list(expected.values_list("pk", flat=True))
    forget_copies()
    assert binding.keys() == found


@pytest.mark.django_db(transaction=True)
def test_a_model_that_does_more_when_it_is_made_does_it(bind: Bind) -> None:
    """Instances are copied only where nobody can tell."""
    Product.objects.create(name="Tea")
    made: list[Any] = []

    def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        made.append(instance)

    post_init.connect(note, sender=Product)
    try:
        [row] = bind(Product)().all().values()
    finally:
        post_init.disconnect(note, sender=Product)

    assert made[-1] is row


@pytest.mark.django_db(transaction=True)
def test_a_long_decimal_is_listed(bind: Bind) -> None:
    """Not every database compares more than fifteen digits."""
    binding = bind(
        Everything, get_queryset=lambda self: Everything.objects.order_by("decimal")
    )()

    assert binding.slot.listed


@pytest.mark.django_db(transaction=True)
def test_another_serializer_schema_or_filter_is_kept_elsewhere(bind: Bind) -> None:
    """Nobody reads what was written in another form."""
    names = {
        bind(Product, **attributes)().slot.name
        for attributes in (
            {},
            {"filters": {"stock": 1}},
            {"filters": {"stock": 2}},
            {"excludes": {"stock": 2}},
            {"revision": 1},
            {"get_queryset": lambda self: Product.objects.filter(name="a")},
            {"get_queryset": lambda self: Product.objects.only("name")},
        )
    }

    assert len(names) == 7


@pytest.mark.django_db(transaction=True)
def test_rows_kept_by_other_code_are_filled_again(bind: Bind, store: str) -> None:
    """While two versions of a project run, each sees what the other writes."""
    tea = Product.objects.create(name="Tea")
    old = bind(Product, revision=1)()
    old.all()
    new = bind(Product, revision=2)()
    new.all()

    tea.name = "Coffee"
    tea.save()

    assert [product.name for product in new.all().values()] == ["Coffee"]
    assert [product.name for product in old.all().values()] == ["Coffee"]
