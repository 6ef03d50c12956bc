"""
The bound view set answers as the plain one does, whatever a project has overridden.

Each variant is built twice: upon ``ModelViewSet``, and upon ``BoundModelViewSet``. All
users make all requests to both, also with copies of their own and of other users, and
again after everything around the rows has changed.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.translation import gettext
from pytest_django.asserts import assertNumQueries
from rest_framework import (
    filters,
    generics,
    pagination,
    permissions,
    renderers,
    serializers,
    throttling,
    viewsets,
)
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate

from tests.bindings.app.models import Item, Product, Review, Seat
from tests.bindings.conftest import Bind
from turbo.bindings import BoundModelViewSet

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("store", ["memory"], indirect=True),
    pytest.mark.usefixtures("store"),
]

Variant = dict[str, Any]


def label(user: Any) -> str:
    """Return what of a user may change without anybody's telling the binding."""
    return str(getattr(user, "first_name", "nobody"))


class Columns(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ("id", "name", "stock")


class Stars(Columns):
    """Shows rows of another table, and nobody says so to the binding."""

    stars = serializers.SerializerMethodField()

    class Meta(Columns.Meta):
        fields = ("id", "stars")  # type: ignore[assignment]

    def get_stars(self, row: Product) -> list[int]:
        return [review.stars for review in row.reviews.order_by("pk")]


class ForWhom(Columns):
    """Shows other things to other users."""

    def to_representation(self, row: Product) -> Any:
        request = self.context.get("request")
        name = request.user.username if request else "nobody"
        return {**super().to_representation(row), "for": name}


class Tagged(Columns):
    """Shows what the view puts into the context."""

    def to_representation(self, row: Product) -> Any:
        shown = super().to_representation(row)
        return {**shown, "mark": self.context.get("mark")}


class Narrowed(serializers.ListSerializer[Any]):
    def to_representation(self, data: Any) -> Any:
        if not isinstance(data, list):
            data = data.filter(name=self.context["request"].user.username)
        return super().to_representation(data)


class NarrowedColumns(Columns):
    class Meta(Columns.Meta):
        list_serializer_class = Narrowed


class Pages(pagination.PageNumberPagination):
    page_size = 2


class Limits(pagination.LimitOffsetPagination):
    default_limit = 2


class Cursor(pagination.CursorPagination):
    page_size = 2
    ordering = "pk"


class OwnPages(Pages):
    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        mine = queryset.filter(name=request.user.username)
        return super().paginate_queryset(mine, request, view)


class Envelopes(Pages):
    def get_paginated_response(self, data: Any) -> Response:
        return Response({"for": self.request.user.username, "rows": data})


class OwnRows(filters.BaseFilterBackend):
    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(name=request.user.username)


class SameObject(filters.BaseFilterBackend):
    """Narrows the rows down without making another queryset."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        queryset.query.add_q(Q(name=request.user.username))
        return queryset


class Owns(permissions.BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return bool(obj.name == request.user.username)


class IsStaff(permissions.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(request.user.is_staff)


class NotBob(throttling.BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return bool(request.user.username != "bob")


class Signed(renderers.JSONRenderer):
    """Writes more than the data."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        context = args[1] if len(args) > 1 else kwargs["renderer_context"]
        name = label(context["request"].user)
        return bytes(super().render(data, *args, **kwargs)) + f"/{name}".encode()


class Page(Signed):
    media_type = "text/html"
    format = "html"


class Lines(renderers.BaseRenderer):
    media_type = "text/plain"
    format = "txt"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return repr(data).encode()


def plainly(self: Any) -> Any:
    """Return the view itself as its base class has it."""
    return super(type(self), self)


def object_of_owner(self: Any) -> Any:
    found = plainly(self).get_object()
    if found.name != self.request.user.username:
        raise PermissionDenied
    return found


def object_by_name(self: Any) -> Any:
    return generics.get_object_or_404(Product, name=self.kwargs["pk"])


def own_rows(self: Any) -> Any:
    return Product.objects.filter(name=self.request.user.username)


def reviewed_rows(self: Any) -> Any:
    return Product.objects.filter(reviews__stars=5).order_by("pk").distinct()


def narrowed(self: Any, queryset: Any) -> Any:
    found = plainly(self).filter_queryset(queryset)
    return found.filter(name=self.request.user.username)


def narrowed_in_place(self: Any, queryset: Any) -> Any:
    queryset.query.add_q(Q(name=self.request.user.username))
    return queryset


def check_owner(self: Any, request: Any, row: Any) -> None:
    if row.name != request.user.username:
        self.permission_denied(request)


def check_staff(self: Any, request: Any) -> None:
    if not request.user.is_staff:
        self.permission_denied(request)


def only_ann(self: Any, request: Any, *args: Any, **kwargs: Any) -> None:
    plainly(self).initial(request, *args, **kwargs)
    if request.user.username != "ann":
        raise PermissionDenied


def marked_serializer(self: Any, *args: Any, **kwargs: Any) -> Any:
    context = {**self.get_serializer_context(), "mark": label(self.request.user)}
    return Tagged(*args, **kwargs, context=context)


def serializer_of_rank(self: Any) -> Any:
    return Columns if self.request.user.is_staff else Stars


def marked_context(self: Any) -> Any:
    context = plainly(self).get_serializer_context()
    return {**context, "mark": label(self.request.user)}


def own_page(self: Any, queryset: Any) -> Any:
    return list(queryset.filter(name=self.request.user.username))


def enveloped(self: Any, data: Any) -> Response:
    return Response({"name": label(self.request.user), "rows": data})


def signed_list(self: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
    response: Response = plainly(self).list(request, *args, **kwargs)
    response.data = [*response.data, label(request.user)]
    return response


def signed_row(self: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
    response: Response = plainly(self).retrieve(request, *args, **kwargs)
    response.data["for"] = label(request.user)
    return response


def wrapped(self: Any, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
    response = plainly(self).finalize_response(request, response, *args, **kwargs)
    response.data = {"name": label(request.user), "data": list(response.data)}
    return response


def dispatched(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    response = plainly(self).dispatch(request, *args, **kwargs)
    if response.status_code < 400:
        response.data = {"data": list(response.data)}
    return response


def list_of_row(self: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
    self.kwargs = {"pk": Product.objects.get(name="ann").pk}
    response: Response = self.retrieve(request)
    return Response([response.data["name"]])


VARIANTS: dict[str, Variant] = {
    "nothing": {},
    "get_object": {"get_object": object_of_owner},
    "get_object by name": {"get_object": object_by_name},
    "get_queryset": {"get_queryset": own_rows},
    "get_queryset of others": {"get_queryset": reviewed_rows},
    "queryset": {"queryset": Product.objects.filter(stock__gt=1).order_by("pk")},
    "filter_queryset": {"filter_queryset": narrowed},
    "filter_queryset in place": {"filter_queryset": narrowed_in_place},
    "filter_backends": {"filter_backends": [OwnRows]},
    "filter_backends in place": {"filter_backends": [SameObject]},
    "search": {
        "filter_backends": [filters.SearchFilter],
        "search_fields": ["name", "reviews__stars"],
    },
    "ordering": {"filter_backends": [filters.OrderingFilter], "ordering": ["-name"]},
    "check_object_permissions": {"check_object_permissions": check_owner},
    "check_permissions": {"check_permissions": check_staff},
    "permission": {"permission_classes": [IsStaff]},
    "object permission": {"permission_classes": [Owns]},
    "object permission and": {"permission_classes": [IsStaff & Owns]},
    "object permission or": {"permission_classes": [IsStaff | Owns]},
    "object permission not": {"permission_classes": [~Owns]},
    "get_permissions": {"get_permissions": lambda self: [Owns()]},
    "initial": {"initial": only_ann},
    "throttle": {"throttle_classes": [NotBob]},
    "http_method_names": {"http_method_names": ["post", "options"]},
    "lookup_field": {"lookup_field": "name", "lookup_url_kwarg": "pk"},
    "lookup_field of the key": {"lookup_field": "id", "lookup_url_kwarg": "pk"},
    "get_serializer": {"get_serializer": marked_serializer},
    "get_serializer_class": {"get_serializer_class": serializer_of_rank},
    "get_serializer_context": {
        "get_serializer_context": marked_context,
        "serializer_class": Tagged,
    },
    "context": {"serializer_class": ForWhom},
    "other tables": {"serializer_class": Stars},
    "list_serializer_class": {"serializer_class": NarrowedColumns},
    "pages": {"pagination_class": Pages},
    "limits": {"pagination_class": Limits},
    "cursor": {"pagination_class": Cursor},
    "own pages": {"pagination_class": OwnPages},
    "envelopes": {"pagination_class": Envelopes},
    "paginate_queryset": {
        "paginate_queryset": own_page,
        "get_paginated_response": enveloped,
    },
    "get_paginated_response": {
        "get_paginated_response": enveloped,
        "pagination_class": Pages,
    },
    "list": {"list": signed_list},
    "list of retrieve": {"list": list_of_row},
    "retrieve": {"retrieve": signed_row},
    "finalize_response": {"finalize_response": wrapped},
    "dispatch": {"dispatch": dispatched},
    "renderer that signs": {"renderer_classes": [Signed]},
    "renderer": {"renderer_classes": [Lines]},
    "page": {"renderer_classes": [Page]},
}

#: The binding keeps what a serializer has made.
KEPT: dict[str, Variant] = {
    "kept": {"serializer_class": Columns},
    "kept, object permission": {
        "serializer_class": Columns,
        "permission_classes": [Owns],
    },
    "kept, check_object_permissions": {
        "serializer_class": Columns,
        "check_object_permissions": check_owner,
    },
    "kept, context": {"serializer_class": ForWhom},
    "kept, get_serializer_context": {
        "serializer_class": Tagged,
        "get_serializer_context": marked_context,
    },
    "kept, list_serializer_class": {"serializer_class": NarrowedColumns},
    "kept, another": {
        "serializer_class": Columns,
        "get_serializer_class": serializer_of_rank,
    },
    "kept, renderer": {"serializer_class": Columns, "renderer_classes": [Lines]},
}


class Sides:
    """One variant upon both view sets, and what clients have been given."""

    def __init__(self, binding: Any, attributes: Variant, *, per_user: bool) -> None:
        given = {
            "authentication_classes": [],
            "permission_classes": [],
            "renderer_classes": [renderers.JSONRenderer],
            "serializer_class": Columns,
            "__doc__": "",
        } | attributes
        plain = {"get_queryset": lambda self: Product.objects.order_by("pk")}
        if "queryset" in given:
            plain = {}
        self._plain: Any = type("View", (viewsets.ModelViewSet,), plain | given)
        bound = {"binding": binding, "per_user": per_user}
        self.bound: Any = type("View", (BoundModelViewSet,), bound | given)
        self._copies: dict[str, dict[str, bytes]] = {}

    def compare(self, method: str, path: str, user: Any) -> None:
        """Ask both, also with every copy of this path, and hold them together."""
        asked = (method, path, user.username)
        plain = answer(self._plain, method, path, user)
        bound = answer(self.bound, method, path, user)
        expected = (plain.status_code, plain.content)
        assert (bound.status_code, bound.content) == expected, asked
        copies = self._copies.setdefault(path, {})
        if etag := bound.headers.get("ETag"):
            assert method in ("get", "head"), asked
            if method == "get":
                assert copies.setdefault(etag, plain.content) == plain.content, asked
        for etag in ["*", *copies]:
            again = answer(self.bound, method, path, user, **{"If-None-Match": etag})
            if again.status_code != 304:
                assert (again.status_code, again.content) == expected, (*asked, etag)
                continue
            assert (plain.status_code, again.content) == (200, b""), (*asked, etag)
            if method == "get" and etag != "*":
                assert copies[etag] == plain.content, (*asked, etag)


def answer(view: Any, method: str, path: str, user: Any, **headers: str) -> Any:
    pk = path.partition("?")[0].strip("/").partition("/")[2]
    actions = {"get": "retrieve"} if pk else {"get": "list"}
    request = getattr(APIRequestFactory(), method)(path, headers=headers)
    force_authenticate(request, user)
    response = view.as_view(actions)(request, **({"pk": pk} if pk else {}))
    return response.render()


@pytest.fixture
def people() -> list[Any]:
    ann = User.objects.create(username="ann", first_name="Ann", is_staff=True)
    return [AnonymousUser(), ann, User.objects.create(username="bob")]


@pytest.fixture
def rows() -> list[Product]:
    names = ("ann", "bob", "tea", "milk", "rum")
    return [Product.objects.create(name=n, stock=i) for i, n in enumerate(names)]


def change_around(rows: list[Product], people: list[Any]) -> None:
    """Change what rows and users are shown with; the binding is not told."""
    Review.objects.create(product=rows[2], stars=5)
    User.objects.filter(pk=people[1].pk).update(first_name="Anna")


def change_rows(rows: list[Product], people: list[Any]) -> None:
    Product(pk=rows[0].pk, name="ann", stock=9).save()
    rows[1].delete()


@pytest.mark.parametrize(
    ("name", "per_user"),
    # A view that says that users get the same has copies that are easily mistaken.
    [
        *((name, False) for name in (*VARIANTS, *KEPT)),
        ("nothing", True),
        ("kept", True),
    ],
)
def test_both_answer_alike(
    bind: Bind, rows: list[Product], people: list[Any], name: str, per_user: bool
) -> None:
    attributes = {**VARIANTS, **KEPT}[name]
    kept = {"serializer_class": attributes["serializer_class"]} if name in KEPT else {}
    sides = Sides(bind(Product, **kept), attributes, per_user=per_user)
    paths = ["/rows/?page=2&limit=1&offset=1&search=5", "/rows/", "/rows/tea/"]
    paths += [f"/rows/{row.pk}/" for row in rows[:2]]

    for method in ("head", "options", "get"):
        for path, user in product(paths, people):
            sides.compare(method, path, user)
    for happen in (change_around, change_rows):
        happen(rows, people)
        present = [user if user.is_anonymous else _anew(user) for user in people]
        for path, user in product(paths, present):
            sides.compare("get", path, user)


def _anew(user: User) -> User:
    return User.objects.get(pk=user.pk)


@pytest.mark.parametrize("name", ["nothing", "kept", "pages", "object permission"])
def test_what_is_proved_costs_no_query(
    bind: Bind, rows: list[Product], people: list[Any], name: str
) -> None:
    attributes = {**VARIANTS, **KEPT}[name]
    kept = {"serializer_class": attributes["serializer_class"]} if name in KEPT else {}
    sides = Sides(bind(Product, **kept), attributes, per_user=True)
    ann = people[1]
    paths = ["/rows/", f"/rows/{rows[0].pk}/"]
    etags = [answer(sides.bound, "get", path, ann)["ETag"] for path in paths]

    with assertNumQueries(0):
        for path, etag in zip(paths, etags, strict=True):
            again = answer(sides.bound, "get", path, ann, **{"If-None-Match": etag})
            assert again.status_code == 304
            assert "Last-Modified" in again.headers


def test_what_is_not_proved_is_private(
    bind: Bind, rows: list[Product], people: list[Any]
) -> None:
    """Though the view says that users get the same."""
    sides = [
        Sides(bind(Product), VARIANTS[name], per_user=False)
        for name in ("nothing", "filter_backends", "context")
    ]

    said = [answer(s.bound, "get", "/rows/", people[1])["Cache-Control"] for s in sides]

    assert said == ["no-cache", "private, no-cache", "private, no-cache"]


def test_a_write_may_insist_on_an_answer_that_was_compared(
    bind: Bind, rows: list[Product], people: list[Any]
) -> None:
    sides = Sides(bind(Product), VARIANTS["lookup_field"], per_user=True)
    path, ann = "/rows/tea/", people[1]
    etag = answer(sides.bound, "get", path, ann)["ETag"]

    def put(stock: int) -> int:
        data = {"name": "tea", "stock": stock}
        request = APIRequestFactory().put(
            path, data, format="json", headers={"If-Match": etag}
        )
        force_authenticate(request, ann)
        view = sides.bound.as_view({"put": "update"})
        return int(view(request, pk="tea").status_code)

    assert [put(7), put(8)] == [200, 412]
    assert Product.objects.get(name="tea").stock == 7


def test_a_key_of_two_columns_is_not_read_from_its_letters(bind: Bind) -> None:
    Seat.objects.create(row=1, number=2)

    class SeatSerializer(serializers.ModelSerializer[Seat]):
        class Meta:
            model = Seat
            fields = ("row", "number")

    given: dict[str, Any] = {
        "serializer_class": SeatSerializer,
        "authentication_classes": [],
        "permission_classes": [],
        "renderer_classes": [renderers.JSONRenderer],
    }
    queryset = {"get_queryset": lambda self: Seat.objects.order_by("row", "number")}
    plain = type("View", (viewsets.ModelViewSet,), given | queryset)
    bound = type("View", (BoundModelViewSet,), given | {"binding": bind(Seat)})

    codes = [
        answer(view, "get", "/seats/12/", AnonymousUser()).status_code
        for view in (plain, bound)
    ]

    assert codes == [404, 404]


def test_kept_values_have_no_language_and_no_time_zone(bind: Bind) -> None:
    """Neither that of whoever wrote, nor that of whoever was first to read."""

    class Worded(serializers.ModelSerializer[Item]):
        word = serializers.SerializerMethodField()

        class Meta:
            model = Item
            fields = ("moment", "word")

        def get_word(self, item: Item) -> str:
            return gettext("Yes")

    given: dict[str, Any] = {
        "serializer_class": Worded,
        "authentication_classes": [],
        "permission_classes": [],
        "renderer_classes": [renderers.JSONRenderer],
    }
    queryset = {"get_queryset": lambda self: Item.objects.order_by("pk")}
    plain = type("View", (viewsets.ModelViewSet,), given | queryset)
    binding = bind(Item, serializer_class=Worded)
    bound = type("View", (BoundModelViewSet,), given | {"binding": binding})
    places = [("de", "Asia/Tokyo"), ("en-us", "UTC"), ("fr", "Europe/Paris")]
    for language, zone in places:
        with translation.override(language), timezone.override(zone):
            Item.objects.create(moment=timezone.now())

    for language, zone in places:
        with translation.override(language), timezone.override(zone):
            shown = [
                json.loads(answer(view, "get", "/", AnonymousUser()).content)
                for view in (plain, bound)
            ]
            assert shown[0] == shown[1]
