"""The view set: right answers, and 304 only where they are still right."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.utils import timezone
from django.utils.http import http_date, parse_http_date
from pytest_django.asserts import assertNumQueries
from rest_framework import filters, pagination, permissions, renderers, serializers
from rest_framework.test import APIRequestFactory, force_authenticate

from tests.bindings.app.models import Product, Review
from tests.bindings.conftest import Bind
from tests.support.servers import Valkey, wait_until
from turbo.bindings import BoundModelViewSet
from turbo.bindings.cache.outage import is_reachable
from turbo.exceptions import ConfigurationError

pytestmark = pytest.mark.django_db(transaction=True)


class ProductSerializer(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ("id", "name", "venue")


class Pages(pagination.PageNumberPagination):
    page_size = 2


class Cursor(pagination.CursorPagination):
    page_size = 2
    ordering = "name"


class SecondRenderer(renderers.JSONRenderer):
    media_type = "application/vnd.shop+json"
    format = "shop"


class Client:
    """Requests to one view set, without middleware."""

    def __init__(self, binding: Any, **attributes: Any) -> None:
        defaults: dict[str, Any] = {
            "binding": binding,
            "serializer_class": ProductSerializer,
            "authentication_classes": [],
            "permission_classes": [permissions.AllowAny],
            "renderer_classes": [renderers.JSONRenderer, SecondRenderer],
        }
        self.view: Any = type("View", (BoundModelViewSet,), defaults | attributes)
        self.user: Any = None

    def __call__(
        self, method: str, path: str = "/products/", data: Any = None, **headers: str
    ) -> Any:
        pk = path.partition("?")[0].strip("/").partition("/")[2]
        actions = (
            {"get": "retrieve", "put": "update", "delete": "destroy"}
            if pk
            else {"get": "list", "post": "create"}
        )
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        factory = getattr(APIRequestFactory(), method)
        if method == "get":
            request = factory(path, headers=given, query_params=data)
        else:
            request = factory(path, data, format="json", headers=given)
        if self.user is not None:
            force_authenticate(request, self.user)
        response = self.view.as_view(actions)(request, **({"pk": pk} if pk else {}))
        response.render()
        return response

    def get(self, path: str = "/products/", **options: Any) -> Any:
        return self("get", path, **options)


@pytest.fixture
def client(bind: Bind, store: str) -> Callable[..., Client]:
    def make(binding: dict[str, Any] | None = None, **attributes: Any) -> Client:
        return Client(bind(Product, **(binding or {})), **attributes)

    return make


@pytest.fixture
def tea() -> Product:
    return Product.objects.create(name="Tea")


def revalidate(client: Client, path: str = "/products/", **headers: str) -> int:
    """Ask twice, the second time whether the first answer is still good."""
    first = client.get(path)
    return int(client.get(path, If_None_Match=first["ETag"], **headers).status_code)


def test_a_list_and_a_row(client: Callable[..., Client], tea: Product) -> None:
    shop = client()
    row = {"id": tea.pk, "name": "Tea", "venue": "store"}

    everything, one = shop.get(), shop.get(f"/products/{tea.pk}")

    assert (everything.status_code, everything.data) == (200, [row])
    assert (one.status_code, one.data) == (200, row)
    assert shop.get("/products/999").status_code == 404
    assert shop.get("/products/nonsense").status_code == 404
    assert everything["Cache-Control"] == "private, no-cache"
    assert everything["Vary"] == "Accept, Accept-Language, Authorization, Cookie"


def test_304_costs_no_query(client: Callable[..., Client], tea: Product) -> None:
    shop = client()
    everything, one = shop.get(), shop.get(f"/products/{tea.pk}")

    with assertNumQueries(0):
        again = shop.get(If_None_Match=everything["ETag"])
        row = shop.get(f"/products/{tea.pk}", If_None_Match=one["ETag"])

    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == everything["ETag"]
    assert again["Cache-Control"] == "private, no-cache"
    assert row.status_code == 304


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_304_takes_one_round_trip(
    client: Callable[..., Client], tea: Product, valkey: Valkey
) -> None:
    shop = client()
    etag = shop.get()["ETag"]

    with valkey.client() as monitor:

        def reads() -> int:
            return int(monitor.info("stats")["total_reads_processed"])  # type: ignore[index]

        before = reads()
        idle = reads() - before
        before = reads()
        assert shop.get(If_None_Match=etag).status_code == 304
        took = reads() - before - idle

    assert took == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda tea: Product.objects.create(name="Milk"),
        lambda tea: tea.delete(),
        lambda tea: Product(pk=tea.pk, name="Coffee").save(),
    ],
    ids=["added", "deleted", "changed"],
)
def test_a_change_makes_it_200(
    client: Callable[..., Client], tea: Product, change: Callable[[Product], Any]
) -> None:
    shop = client()
    before = shop.get()

    change(tea)
    after = shop.get(If_None_Match=before["ETag"])

    assert after.status_code == 200
    assert after["ETag"] != before["ETag"]
    assert [row["name"] for row in after.data] == list(
        Product.objects.order_by("pk").values_list("name", flat=True)
    )


def test_a_change_outside_the_filter_keeps_it_304(
    client: Callable[..., Client], tea: Product
) -> None:
    shop = client({"filters": {"venue": "store"}})
    etag = shop.get()["ETag"]

    Product.objects.create(name="Site", venue="online")

    assert shop.get(If_None_Match=etag).status_code == 304


def test_the_time_is_only_good_from_the_next_second_on(
    client: Callable[..., Client], tea: Product
) -> None:
    """A copy of the second of a change may be older than the change."""
    shop = client()
    changed = shop.get()
    sent = parse_http_date(changed["Last-Modified"])
    modified = shop.view.binding().last_modified
    second = int(modified.timestamp())

    def status(seconds: int) -> int:
        when = http_date(second + seconds)
        return int(shop.get(If_Modified_Since=when).status_code)

    assert sent == second
    assert [status(-1), status(0), status(1), status(60)] == [200, 200, 304, 304]


def test_etags_tell_responses_apart(
    client: Callable[..., Client], tea: Product
) -> None:
    """By user, by query string, by form, by path; not by the order of a query."""
    shop = client(pagination_class=Pages)
    shop.user = AnonymousUser()
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))

    def etag(path: str = "/products/", user: Any = None, **headers: str) -> str:
        shop.user = user or AnonymousUser()
        return str(shop.get(path, **headers)["ETag"])

    etags = [
        etag(),
        etag(user=ann),
        etag(user=bob),
        etag("/products/?page=1"),
        etag("/products/?page=1&a=2"),
        etag(f"/products/{tea.pk}"),
        etag(Accept="application/vnd.shop+json"),
    ]
    ann.is_staff = True
    etags.append(etag(user=ann))

    assert len(set(etags)) == len(etags)
    assert all(tag.startswith('"') for tag in etags)
    assert etag("/products/?a=2&page=1") == etag("/products/?page=1&a=2")


def test_etags_tell_serializers_apart(bind: Bind, store: str, tea: Product) -> None:
    class OtherSerializer(ProductSerializer):
        name = serializers.CharField(source="venue")

    binding = bind(Product)
    tags = [Client(binding).get()["ETag"] for _ in range(2)]
    tags.append(Client(binding, serializer_class=OtherSerializer).get()["ETag"])

    assert len(set(tags)) == 2


def test_users_may_share_an_etag(client: Callable[..., Client], tea: Product) -> None:
    shop = client(per_user=False)
    tags = set()

    for name in ("ann", "bob"):
        shop.user = User.objects.create(username=name)
        response = shop.get()
        tags.add(response["ETag"])

    assert len(tags) == 1
    assert response["Cache-Control"] == "no-cache"
    assert "Cookie" not in response["Vary"]


def test_pages_are_right(client: Callable[..., Client]) -> None:
    for name in "abcde":
        Product.objects.create(name=name)
    shop = client(pagination_class=Pages)
    shop.get()

    with assertNumQueries(0):
        last = shop.get("/products/?page=3")

    assert last.data == {
        "count": 5,
        "next": None,
        "previous": "http://testserver/products/?page=2",
        "results": [{"id": ANY, "name": "e", "venue": "store"}],
    }
    assert shop.get("/products/?page=4").status_code == 404


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"search": "b"}, ["b"]),
        ({"search": "nothing"}, []),
    ],
)
def test_filters_are_right(
    client: Callable[..., Client], query: dict[str, str], names: list[str]
) -> None:
    """What is filtered comes from the database, and is a 304 as well."""
    for name in "abc":
        Product.objects.create(name=name)
    shop = client(filter_backends=[filters.SearchFilter], search_fields=["name"])

    found = shop.get(data=query)
    again = shop.get(data=query, If_None_Match=found["ETag"])

    assert [row["name"] for row in found.data] == names
    assert again.status_code == 304


def test_ordering_and_cursors_are_right(client: Callable[..., Client]) -> None:
    for name in "bca":
        Product.objects.create(name=name)
    ordered = client(filter_backends=[filters.OrderingFilter], ordering=["-name"])
    cursor = client(pagination_class=Cursor)

    first = cursor.get()
    second = cursor.get(first.data["next"].removeprefix("http://testserver"))

    assert [row["name"] for row in ordered.get().data] == ["c", "b", "a"]
    assert [row["name"] for row in first.data["results"]] == ["a", "b"]
    assert [row["name"] for row in second.data["results"]] == ["c"]


def test_a_queryset_of_the_view_is_heeded(
    client: Callable[..., Client], tea: Product
) -> None:
    """Whoever narrows the rows down for the user is not given all of them."""
    Product.objects.create(name="Secret")

    def get_queryset(self: Any) -> Any:
        return Product.objects.exclude(name="Secret")

    shop = client(get_queryset=get_queryset)
    secret = Product.objects.get(name="Secret")

    assert [row["name"] for row in shop.get().data] == ["Tea"]
    assert shop.get(f"/products/{secret.pk}").status_code == 404
    assert shop.get(f"/products/{tea.pk}").data["name"] == "Tea"


def test_object_permissions_are_asked(
    client: Callable[..., Client], tea: Product
) -> None:
    class NotTea(permissions.BasePermission):
        def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
            return bool(obj.name != "Tea")

    shop = client(permission_classes=[NotTea])

    assert shop.get(f"/products/{tea.pk}").status_code == 403


def test_writes_go_through_it(client: Callable[..., Client], tea: Product) -> None:
    shop = client()
    etag = shop.get()["ETag"]

    created = shop("post", data={"name": "Milk", "venue": "store"})
    changed = shop("put", f"/products/{tea.pk}", {"name": "Chai", "venue": "store"})
    deleted = shop("delete", f"/products/{created.data['id']}")
    with assertNumQueries(0):
        found = shop.get(If_None_Match=etag)

    codes = [r.status_code for r in (created, changed, deleted, found)]
    assert codes == [201, 200, 204, 200]
    assert [row["name"] for row in found.data] == ["Chai"]


def test_a_write_may_insist_on_what_it_has_seen(
    client: Callable[..., Client], tea: Product
) -> None:
    shop = client()
    path, data = f"/products/{tea.pk}", {"name": "Chai", "venue": "store"}
    etag = shop.get(path)["ETag"]

    first = shop("put", path, data, If_Match=etag)
    second = shop("put", path, {**data, "name": "Lost"}, If_Match=etag)

    assert (first.status_code, second.status_code) == (200, 412)
    assert Product.objects.get().name == "Chai"


def test_the_bindings_own_serializer(
    client: Callable[..., Client], tea: Product
) -> None:
    """What it has made when the row changed is sent as it is."""
    shop = client({"serializer_class": ProductSerializer}, serializer_class=None)
    row = {"id": tea.pk, "name": "Tea", "venue": "store"}

    assert shop.get().data == [row]
    assert shop.get(f"/products/{tea.pk}").data == row
    assert shop.view.binding().all() == {tea.pk: row}


def test_a_serializer_may_follow_relations(
    client: Callable[..., Client], tea: Product
) -> None:
    """Each row once, when it changes, instead of at each request."""

    class Stars(ProductSerializer):
        stars = serializers.SerializerMethodField()

        class Meta(ProductSerializer.Meta):
            fields = ("name", "stars")  # type: ignore[assignment]

        def get_stars(self, product: Product) -> int:
            return sum(review.stars for review in product.reviews.all())

    shop = client(
        {"serializer_class": Stars, "depends_on": [Review]}, serializer_class=None
    )
    shop.get()
    Review.objects.create(product=tea, stars=4)

    with assertNumQueries(0):
        assert shop.get().data == [{"name": "Tea", "stars": 4}]


def test_parameters_come_from_the_url(bind: Bind, store: str, tea: Product) -> None:
    Review.objects.create(product=tea, stars=4)
    binding = bind(
        Review, params=["product"], filters=lambda self: {"product": self.product}
    )

    class ReviewSerializer(serializers.ModelSerializer[Review]):
        class Meta:
            model = Review
            fields = ("stars",)

    view: Any = type(
        "View",
        (BoundModelViewSet,),
        {
            "binding": binding,
            "serializer_class": ReviewSerializer,
            "authentication_classes": [],
            "permission_classes": [],
        },
    )
    request = APIRequestFactory().get("/")
    listed = view.as_view({"get": "list"})

    assert listed(request, product=tea.pk).data == [{"stars": 4}]
    assert listed(request, product=999).data == []


def test_an_open_transaction_gets_no_validators(
    client: Callable[..., Client], tea: Product
) -> None:
    """What it has changed nobody else can see, so no copy of it is good."""
    shop = client()
    etag = shop.get()["ETag"]

    with transaction.atomic():
        tea.name = "Coffee"
        tea.save()
        inside = shop.get(If_None_Match=etag)

    assert inside.status_code == 200
    assert inside.data[0]["name"] == "Coffee"
    assert "ETag" not in inside


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_without_redis_the_database_answers(
    client: Callable[..., Client], tea: Product, valkey: Valkey
) -> None:
    """With 200, even where the client's copy was good a moment ago."""
    shop = client()
    first = shop.get()
    valkey.kill()
    tea.name = "Coffee"
    tea.save()

    later = shop.get(
        If_None_Match=first["ETag"],
        If_Modified_Since=http_date(
            (timezone.now() + datetime.timedelta(days=1)).timestamp()
        ),
    )
    one = shop.get(f"/products/{tea.pk}")

    assert (later.status_code, later.data[0]["name"]) == (200, "Coffee")
    assert "ETag" not in later
    assert "Last-Modified" not in later
    assert one.data["name"] == "Coffee"
    valkey.start()
    wait_until(is_reachable)


def test_it_says_what_is_missing() -> None:

    with pytest.raises(ConfigurationError, match="is None, which is not a Binding"):
        BoundModelViewSet().get_binding()
