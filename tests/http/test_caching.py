"""A page with the names of one user is in no cache for others."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template, engines
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.views.decorators.cache import cache_control, cache_page
from rest_framework.decorators import api_view

from turbo.components import BroadcastComponent
from turbo.delivery.names import verify
from turbo.runtime import log_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

PAGE_SOURCE = '{% load turbo_streams %}{% turbo_subscribe "testapp:Announcements" %}'
PAGE = Template(PAGE_SOURCE)

FIRST = "django.middleware.cache.UpdateCacheMiddleware"
LAST = "django.middleware.cache.FetchFromCacheMiddleware"
TURBO = "turbo.middleware.TurboMiddleware"


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache.clear()


def page(request: Any) -> HttpResponse:
    return HttpResponse(PAGE.render(RequestContext(request)))


def late(request: HttpRequest) -> TemplateResponse:
    """A page that is rendered after its view has returned."""
    return TemplateResponse(request, engines["django"].from_string(PAGE_SOURCE))


async def slow(request: HttpRequest) -> HttpResponse:
    return page(request)


urlpatterns = [
    path("plain/", page),
    path("cached/", cache_page(600)(page)),
    path("late/", cache_page(600)(late)),
    path("async/", cache_page(600)(slow)),
    path("rest/", cache_page(600)(api_view()(page))),
    path("public/", cache_control(public=True, max_age=60)(page)),
]


def names_of(response: Any) -> str | None:
    """Return the user for whom the names in a response are signed."""
    found = re.search(r'signed-stream-name="(.*?)"', response.content.decode())
    assert found is not None
    return verify(found[1]).user


def visitors() -> list[tuple[Client, str]]:
    """Return two browsers with the users who are logged in there."""
    made = []
    for name in ("ann", "bob"):
        user = User.objects.create_user(name)
        client = Client()
        client.force_login(user)
        made.append((client, str(user.pk)))
    return made


@pytest.mark.parametrize("path", ["/cached/", "/late/", "/rest/"])
@pytest.mark.parametrize("first", [[], [TURBO]])
def test_a_cached_view_gives_each_user_a_page_of_their_own(
    settings: Any, path: str, first: list[str]
) -> None:
    settings.MIDDLEWARE = [*first, *settings.MIDDLEWARE]

    for client, user in visitors():
        assert names_of(client.get(path)) == user
        assert names_of(client.get(path)) == user


async def test_a_cached_async_view_too(settings: Any) -> None:
    for name in ("ann", "bob"):
        user = await User.objects.acreate_user(name)
        client = AsyncClient()
        await client.aforce_login(user)

        assert names_of(await client.get("/async/")) == str(user.pk)


@pytest.mark.parametrize("first", [[FIRST], [TURBO, FIRST], [FIRST, TURBO]])
def test_the_cache_of_a_site_stores_no_page_of_a_user(
    settings: Any, first: list[str]
) -> None:
    settings.MIDDLEWARE = [*first, *settings.MIDDLEWARE, LAST]
    [(ann, user), _] = visitors()

    one, other = ann.get("/plain/"), ann.get("/plain/")

    assert names_of(one) == names_of(other) == user
    assert "Expires" not in other


def test_a_page_for_everybody_may_be_stored(settings: Any) -> None:
    """Its names say what the page knows, so the rest is replayed."""
    settings.MIDDLEWARE = [TURBO, *settings.MIDDLEWARE]

    one, other = Client().get("/cached/"), Client().get("/cached/")

    assert one.content == other.content
    assert other["Cache-Control"] == "max-age=600"


@pytest.mark.parametrize(
    ("path", "expected"), [("/plain/", "private"), ("/public/", "max-age=60, private")]
)
def test_a_page_of_a_user_is_private_to_their_browser(
    settings: Any, path: str, expected: str
) -> None:
    """A browser may keep it, or it could not go back to the page at once."""
    settings.MIDDLEWARE = [TURBO, *settings.MIDDLEWARE]
    [(ann, _), _] = visitors()

    assert ann.get(path)["Cache-Control"] == expected


# --- Fragments


class CachedBanner(BroadcastComponent):
    template_name = "testapp/banner.html"


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that renders a template with fragments for a user."""
    monkeypatch.setattr(log_once, "_last", {})

    def render(source: str, user: Any) -> str:
        request = RequestFactory().get("/")
        request.user = user
        return Template("{% load cache turbo_streams %}\n" + source).render(
            RequestContext(request, {"included": PAGE, "banner": CachedBanner()})
        )

    return render


TAG = '{% turbo_subscribe "testapp:Announcements" %}'


@pytest.mark.parametrize(
    "inside",
    [
        TAG,
        f"{{% with x=1 %}}{TAG}{{% endwith %}}",
        "{% include included %}",
        f"{{% cache 60 x request.user.pk %}}{TAG}{{% endcache %}}",
        "{% turbo_component banner %}",
    ],
)
def test_a_name_in_a_fragment_for_everybody_is_told(
    render: Callable[..., str], caplog: pytest.LogCaptureFixture, inside: str
) -> None:
    render(f"{{% cache 60 x %}}{inside}{{% endcache %}}", User(pk=1))

    assert caplog.messages == [
        "{% cache 60 x %}, in line 2 of <unknown source>, has a stream in it. The "
        "fragment is stored with the names of one user, and other users are refused. "
        "Move {% turbo_subscribe %} or {% turbo_component %} out of it."
    ]


@pytest.mark.parametrize(
    ("source", "user"),
    [
        (f"{{% cache 60 x %}}{{% dom_id request.user %}}{{% endcache %}}{TAG}", 1),
        (f"{{% cache 60 x request.user.pk %}}{TAG}{{% endcache %}}", 1),
        (f"{{% cache 60 x request.session.key %}}{TAG}{{% endcache %}}", 1),
        (f"{{% cache 60 x %}}{TAG}{{% endcache %}}", None),
    ],
)
def test_other_fragments_are_not_told(
    render: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
    source: str,
    user: int | None,
) -> None:
    render(source, User(pk=user) if user else AnonymousUser())

    assert caplog.messages == []
