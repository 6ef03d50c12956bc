"""A binding: what it holds, and how it follows."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Count, Q
from pytest_django.asserts import assertNumQueries

import turbo
from tests.bindings.app.models import Car, Label, Product, Review, Seat, Vehicle
from tests.bindings.conftest import Bind
from tests.support.listening import rolled_back

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.usefixtures("store"),
]


def test_all_is_read_once(bind: Bind) -> None:
    """The second read costs no query, and gives the same instances, made anew."""
    tea = Product.objects.create(name="Tea", price=decimal.Decimal("2.50"))
    Product.objects.create(name="Site", venue="online")
    binding = bind(Product, filters={"venue": "store"})()

    first = binding.all()
    with assertNumQueries(0):
        second = binding.all()

    assert first == second == {tea.pk: tea}
    assert second[tea.pk].price == decimal.Decimal("2.50")
    assert second[tea.pk] is not first[tea.pk]
    assert not second[tea.pk]._state.adding


def test_an_empty_queryset_is_kept_too(bind: Bind) -> None:
    binding = bind(Product)()

    assert binding.all() == {}
    with assertNumQueries(0):
        assert binding.all() == {}


def test_follows_saves_and_deletes(bind: Bind) -> None:
    """Rows that enter the filter, change, leave it and are deleted."""
    binding = bind(Product, filters={"venue": "store"})()
    names: list[list[str]] = []

    def look() -> None:
        with assertNumQueries(0):
            names.append([product.name for product in binding.all().values()])

    assert binding.all() == {}
    tea = Product.objects.create(name="Tea")
    look()
    site = Product.objects.create(name="Site", venue="online")
    look()
    site.venue = "store"
    site.save()
    look()
    tea.name = "Green tea"
    tea.save()
    look()
    tea.venue = "online"
    tea.save()
    look()
    site.delete()
    look()

    assert names == [
        ["Tea"],
        ["Tea"],
        ["Tea", "Site"],
        ["Green tea", "Site"],
        ["Site"],
        [],
    ]


def test_nothing_of_a_rolled_back_transaction_is_kept(bind: Bind) -> None:
    tea = Product.objects.create(name="Tea")
    binding = bind(Product)()
    binding.all()
    version = binding.version

    with rolled_back():
        tea.name = "Coffee"
        tea.save()
        Product.objects.create(name="Milk")

    assert [product.name for product in binding.all().values()] == ["Tea"]
    assert binding.version == version


def test_within_a_transaction_its_own_changes_are_seen(bind: Bind) -> None:
    """Before the commit the database answers, and nobody else is told."""
    binding = bind(Product)()
    binding.all()

    with transaction.atomic():
        Product.objects.create(name="Tea")
        assert [product.name for product in binding.all().values()] == ["Tea"]
        assert binding.version == ""

    with assertNumQueries(0):
        assert len(binding.all()) == 1


def test_a_transaction_without_changes_reads_the_cache(bind: Bind) -> None:
    """As every request does with ATOMIC_REQUESTS."""
    binding = bind(Product)()
    binding.all()

    with transaction.atomic(), assertNumQueries(0):
        assert binding.all() == {}


def test_a_transaction_fills_only_after_its_end(bind: Bind) -> None:
    """What an open transaction sees may never be committed."""
    binding = bind(Product)()

    with transaction.atomic():
        assert binding.all() == {}
        with assertNumQueries(1):
            assert binding.all() == {}

    with assertNumQueries(0):
        assert binding.all() == {}


def test_version_and_time_change_with_the_content_only(bind: Bind) -> None:
    tea = Product.objects.create(name="Tea")
    site = Product.objects.create(name="Site", venue="online")
    binding = bind(Product, filters={"venue": "store"})()
    before, modified = binding.version, binding.last_modified
    assert modified is not None

    site.save()
    tea.save()
    same = binding.version
    tea.name = "Coffee"
    tea.save()
    later = binding.version

    assert same == before
    assert later != before
    assert int(later.partition(":")[2]) == int(before.partition(":")[2]) + 1
    assert binding.last_modified is not None
    assert binding.last_modified > modified


def test_get_and_keys(bind: Bind) -> None:
    tea = Product.objects.create(name="Tea")
    site = Product.objects.create(name="Site", venue="online")
    binding = bind(Product, filters={"venue": "store"})()

    assert binding.keys() == [tea.pk]
    with assertNumQueries(0):
        assert binding.get(tea.pk) == tea
        assert binding.get(str(tea.pk)).name == "Tea"
        assert binding.get(site.pk) is None
        assert binding.get("nonsense", default=5) == 5


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"filters": {"stock__gt": 3}}, ["b", "c"]),
        ({"excludes": {"name__startswith": "b"}}, ["a", "c"]),
        ({"excludes": {"name": "a", "stock": 1}, "filters": {"stock__lte": 4}}, ["b"]),
        ({"get_q": lambda self: Q(name="a") | Q(stock=5)}, ["a", "c"]),
        ({"get_q": lambda self: [Q(name="a")]}, ["a"]),
        ({"filters": lambda self: {"name__in": ["b"]}}, ["b"]),
        ({"filters": {"tags__text": "red"}}, ["c"]),
        (
            {
                "get_queryset": lambda self: Product.objects.filter(stock=1).order_by(
                    "-pk"
                )
            },
            ["a"],
        ),
    ],
)
def test_every_kind_of_filter(
    bind: Bind, attributes: dict[str, Any], expected: list[str]
) -> None:
    """The real queryset decides, before and after each change."""
    binding = bind(Product, **attributes)()
    assert binding.all() == {}
    red = Label.objects.create(text="red")

    for name, stock in (("a", 1), ("b", 4), ("c", 5)):
        product = Product.objects.create(name=name, stock=stock)
        if name == "c":
            product.tags.add(red)

    with assertNumQueries(0):
        assert [product.name for product in binding.all().values()] == expected
    assert binding.refresh() == 0


def test_annotations_and_deferred_fields_come_back(bind: Bind) -> None:
    tea = Product.objects.create(name="Tea")
    Review.objects.create(product=tea, stars=5)
    binding = bind(
        Product,
        get_queryset=lambda self: Product.objects.only("name").annotate(
            count=Count("reviews")
        ),
    )()
    binding.all()

    with assertNumQueries(0):
        found = binding.all()[tea.pk]
        assert (found.name, found.count) == ("Tea", 1)
    with assertNumQueries(1):
        assert found.stock == 0


def test_depends_on_another_model(bind: Bind) -> None:
    """A change of the other model brings all rows up to date, once a transaction."""
    binding = bind(Product, filters={"reviews__stars__gte": 4}, depends_on=[Review])()
    tea, milk = (Product.objects.create(name=name) for name in ("Tea", "Milk"))
    assert binding.all() == {}

    with transaction.atomic():
        for _ in range(5):
            Review.objects.create(product=tea, stars=5)
    Review.objects.create(product=milk, stars=1)

    with assertNumQueries(0):
        assert list(binding.all().values()) == [tea]


def test_rows_that_depend_on_each_other(bind: Bind) -> None:
    """The three best: a slice, whose rows push each other out."""
    binding = bind(
        Product,
        depends_on=[Product],
        get_queryset=lambda self: Product.objects.order_by("-stock", "name")[:3],
    )()
    assert binding.all() == {}

    for number, name in enumerate("abcde"):
        Product.objects.create(name=name, stock=number)
    Product.objects.filter(name="e").first().delete()  # type: ignore[union-attr]

    with assertNumQueries(0):
        assert [product.name for product in binding.all().values()] == ["d", "c", "b"]


def test_bulk_operations_reach_it(bind: Bind) -> None:
    """Those of the library's queryset, and what is announced."""
    binding = bind(Product, filters={"venue": "store"})()
    binding.all()
    objects = turbo.ChangesQuerySet(Product)

    objects.bulk_create([Product(name=str(number)) for number in range(200)])
    assert len(binding.all()) == 200
    objects.filter(name__in=["1", "2"]).update(venue="online")
    assert len(binding.all()) == 198
    Product.objects.filter(name="3").update(name="three")
    turbo.announce(Product.objects.filter(name="three"))

    with assertNumQueries(0):
        assert "three" in {product.name for product in binding.all().values()}
    assert binding.refresh() == 0


def test_refresh_repairs_what_bypassed_django(bind: Bind) -> None:
    tea = Product.objects.create(name="Tea")
    Product.objects.create(name="Milk")
    binding = bind(Product)()
    binding.all()
    version = binding.version

    Product.objects.filter(pk=tea.pk).update(name="Coffee")
    Product.objects.filter(name="Milk")._raw_delete("default")  # type: ignore[attr-defined]
    stale = [product.name for product in binding.all().values()]
    changes = binding.refresh()

    assert stale == ["Tea", "Milk"]
    assert changes == 2
    assert [product.name for product in binding.all().values()] == ["Coffee"]
    assert binding.version.partition(":")[0] == version.partition(":")[0]


def test_bump_and_clear(bind: Bind) -> None:
    binding = bind(Product)()
    first = binding.version
    binding.bump()
    second = binding.version
    binding.clear()
    third = binding.version

    assert len({first, second, third}) == 3
    assert second.partition(":")[0] == first.partition(":")[0]
    assert third.partition(":")[0] != first.partition(":")[0]


def test_params_tell_bindings_apart(bind: Bind) -> None:
    tea, milk = (Product.objects.create(name=name) for name in ("Tea", "Milk"))
    cls = bind(
        Review, params=["product"], filters=lambda self: {"product_id": self.product}
    )
    assert cls(product=tea.pk).all() == cls(product=milk.pk).all() == {}

    review = Review.objects.create(product=tea, stars=3)
    assert [len(cls(product=p.pk).all()) for p in (tea, milk)] == [1, 0]
    review.product = milk
    review.save()

    with assertNumQueries(0):
        assert [len(cls(product=p.pk).all()) for p in (tea, milk)] == [0, 1]
    assert cls(product=5) == cls(product=5) != cls(product=6)


def test_params_must_fit(bind: Bind) -> None:
    cls = bind(Review, params=["product"], filters=lambda self: {})

    with pytest.raises(TypeError, match="takes product, not none"):
        cls()
    with pytest.raises(TypeError, match="primary key, not the object"):
        cls(product=object())


def test_a_child_with_a_table_of_its_own(bind: Bind) -> None:
    """A parent's column changes through the parent as well."""
    vehicles, cars = bind(Vehicle, "Vehicles")(), bind(Car, "Cars")()
    assert vehicles.all() == cars.all() == {}

    car = Car.objects.create(name="Mini", doors=3)
    parent = Vehicle.objects.get()
    parent.name = "Maxi"
    parent.save()

    with assertNumQueries(0):
        assert [v.name for v in vehicles.all().values()] == ["Maxi"]
        assert [(c.name, c.doors, c.id) for c in cars.all().values()] == [
            ("Maxi", 3, car.pk)
        ]
    car.delete()
    assert vehicles.all() == cars.all() == {}


def test_a_composite_primary_key(bind: Bind) -> None:
    binding = bind(Seat, filters={"taken": True})()
    assert binding.all() == {}

    seat = Seat.objects.create(row=2, number=1, taken=True)
    Seat.objects.create(row=1, number=10, taken=True)
    Seat.objects.create(row=1, number=9, taken=True)
    Seat.objects.create(row=1, number=8)

    with assertNumQueries(0):
        assert binding.keys() == [(1, 9), (1, 10), (2, 1)]
        assert binding.get((2, 1)) == seat


def test_another_database(bind: Bind) -> None:
    """Only changes on the binding's database count."""
    binding = bind(Product, using="other")()
    assert binding.all() == {}

    Product.objects.create(name="Here")
    there = Product.objects.using("other").create(name="There")

    with assertNumQueries(0, using="other"):
        [product] = binding.all().values()
    assert product == there
    assert product._state.db == "other"


def test_a_test_case_reads_the_database(bind: Bind) -> None:
    """Where nothing ever commits, nothing is kept, and everything is right."""
    binding = bind(Product)()

    with rolled_back():
        assert binding.all() == {}
        Product.objects.create(name="Tea")
        assert len(binding.all()) == 1

    assert binding.all() == {}


def test_an_argument_that_finds_nothing_is_not_the_form_of_all(
    bind: Bind, store: str
) -> None:
    """Its query has no text; whoever comes first must not decide for the others."""
    shelf = bind(Product, params=["stock"], filters=lambda self: {"stock": self.stock})
    nothing = shelf(stock=2**70)

    assert nothing.all() == {}
    five = shelf(stock=5)
    assert five.all() == {}
    first = five.slot

    again = bind(Product, params=["stock"], filters=lambda self: {"stock": self.stock})
    assert again(stock=5).slot == first
