"""The page of the inspector in a browser: live, for staff only, on wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.clients import LivePage
from tests.support.servers import PATIENCE, Project

pytestmark = pytest.mark.browser

STAFF = (
    "from django.contrib.auth.models import User; "
    "User.objects.filter(username='ann').update(is_staff={}); "
)
NAME = (
    "from tests.testapp.models import Room; print(Room(pk=1).stream.signed_stream_name)"
)


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    project = make_project("redis", TURBO={"INSPECTOR": "staff"})
    project.shell(STAFF.format(True))
    return project


async def test_what_changes_shows_without_a_reload(
    project: Project, daphne: Callable[..., Any], page: Page
) -> None:
    signed = project.shell(NAME)
    one, other = daphne(project), daphne(project)
    await page.goto(f"{one.url}/login/ann/?next=/__turbo__/")
    await expect(page.get_by_role("status")).to_have_text("Live")
    streams = page.locator("#turbo-top")
    await expect(streams).to_contain_text("No page is connected.")

    async with LivePage(other.ws_url, signed, "forged:name:here"):
        await expect(streams).to_contain_text("testapp:RoomStream:1")
        await expect(page.locator("#turbo-processes tr")).to_have_count(2)
        await expect(page.locator("#turbo-totals")).to_contain_text(
            re.compile(r"Refused\s+1")
        )

    await expect(streams).to_contain_text("No page is connected.")


async def test_it_ends_with_the_right_to_see_it(
    project: Project, daphne: Callable[..., Any], page: Page
) -> None:
    server = daphne(project)
    await page.goto(f"{server.url}/login/ann/?next=/__turbo__/")
    await expect(page.get_by_role("status")).to_have_text("Live")

    project.shell(STAFF.format(False))

    await expect(page.get_by_role("status")).to_have_text(
        "You may not see this page any more"
    )


async def test_it_goes_on_when_the_server_is_back(
    project: Project, daphne: Callable[..., Any], page: Page
) -> None:
    server = daphne(project)
    await page.goto(f"{server.url}/login/ann/?next=/__turbo__/")

    server.kill()
    await expect(page.get_by_role("status")).to_contain_text("cannot be reached")
    server.start()

    await expect(page.get_by_role("status")).to_have_text("Live")


async def test_it_fits_a_phone(
    project: Project,
    daphne: Callable[..., Any],
    new_page: Callable[..., Awaitable[Page]],
) -> None:
    server = daphne(project)
    phone = await new_page(viewport={"width": 390, "height": 800})

    await phone.goto(f"{server.url}/login/ann/?next=/__turbo__/")
    await expect(phone.get_by_role("status")).to_have_text("Live")

    widths = await phone.evaluate(
        "() => [document.documentElement.scrollWidth, innerWidth]"
    )
    assert widths == [390, 390]


async def test_it_works_without_javascript(
    project: Project, daphne: Callable[..., Any]
) -> None:
    server = daphne(project)
    async with httpx.AsyncClient(timeout=PATIENCE, follow_redirects=True) as http:
        answer = await http.get(
            f"{server.url}/login/ann/", params={"next": "/__turbo__/"}
        )

    assert "All processes together" in answer.text
    assert "Not updating by itself" in answer.text
