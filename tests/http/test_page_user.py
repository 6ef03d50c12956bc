"""A page is rendered for the user of its request, in async views as well."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import AsyncClient, TestCase, override_settings
from django.urls import path

import turbo.components
from turbo.delivery.names import verify

PAGE = Template(
    '{% load turbo_streams %}{% turbo_subscribe "testapp:Announcements" %}'
    "{{ request.user.username }}"
)


async def page(request: HttpRequest) -> HttpResponse:
    """Render in the event loop, as ``render()`` does."""
    return HttpResponse(PAGE.render(RequestContext(request)))


async def page_of_known_user(request: HttpRequest) -> HttpResponse:
    """Read the user first, without blocking the loop; then it is not read again."""
    user = await request.auser()
    response = await page(request)
    assert user.is_anonymous or request.user._wrapped is user  # type: ignore[union-attr]
    return response


class Greeting(turbo.components.UserBroadcastComponent):
    """A component whose name contains the user's key."""

    template_name = "testapp/hello.html"


async def component(request: HttpRequest) -> HttpResponse:
    """Render a component of the user in the event loop."""
    source = '{% load turbo_streams %}{% turbo_component "tests:Greeting" user %}'
    context = RequestContext(request, {"user": request.user})
    return HttpResponse(Template(source).render(context))


urlpatterns = [
    path("page/", page),
    path("known/", page_of_known_user),
    path("component/", component),
]

in_both = pytest.mark.parametrize("path", ["/page/", "/known/"])


async def shown_to(client: AsyncClient, path: str) -> tuple[str | None, str]:
    """Return for whom the name is signed, and who is greeted."""
    html = (await client.get(path)).content.decode()
    found = re.fullmatch(r'<.*? signed-stream-name="(.*?)".*>(.*)', html)
    assert found is not None
    return verify(found[1]).user, found[2]


@in_both
@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
async def test_an_async_view_renders_for_its_user(path: str) -> None:
    ann = await User.objects.acreate_user("ann")
    client = AsyncClient()
    await client.aforce_login(ann)

    assert await shown_to(client, path) == (str(ann.pk), "ann")


@in_both
@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
async def test_an_async_view_renders_for_nobody(path: str) -> None:
    assert await shown_to(AsyncClient(), path) == (None, "")


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
async def test_a_component_in_an_async_view_is_that_of_its_user() -> None:
    ann = await User.objects.acreate_user("ann")
    client = AsyncClient()
    await client.aforce_login(ann)

    html = (await client.get("/component/")).content.decode()

    assert f'id="tests:Greeting:[{ann.pk}]"' in html


@override_settings(ROOT_URLCONF=__name__)
class PageInTransaction(TestCase):
    """A test whose data no other connection sees."""

    async def test_the_user_is_read_in_the_thread_of_the_test(self) -> None:
        ann = await User.objects.acreate_user("ann")
        await self.async_client.aforce_login(ann)

        for address in ("/page/", "/known/"):
            assert await shown_to(self.async_client, address) == (str(ann.pk), "ann")
