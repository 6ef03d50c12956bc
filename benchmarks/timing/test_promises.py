"""Measure the time of saves, revocations and refreshes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings

import turbo
from tests.bindings.app.models import Product
from tests.bindings.conftest import Bind
from tests.browser.test_http_half import MIDDLEWARE, BoardSite
from tests.pubsub.shop.models import Topping
from tests.support.clients import LivePage
from tests.support.servers import Valkey, channel_layer, wait_until
from tests.testapp.streams import Announcements
from turbo.bindings.cache.outage import is_reachable
from turbo.bindings.cache.reading import forget_copies
from turbo.delivery.broadcast import shut_down


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Valkey]:
    layers = {"default": channel_layer("redis", valkey.url)}
    with override_settings(CHANNEL_LAYERS=layers, TURBO={"BINDINGS": {"TIMEOUT": 0.3}}):
        yield valkey
        valkey.resume()
        shut_down(5)


@pytest.mark.django_db(transaction=True)
def test_saves_while_redis_is_frozen(redis: Valkey, bind: Bind) -> None:
    """Only the first save of a binding waits, until its time-out."""
    binding = bind(Product)()
    binding.all()
    Topping.objects.create(name="before")
    turbo.flush()
    redis.pause()
    bound = took(lambda n: Product.objects.create(name=n))
    published = took(lambda n: Topping.objects.create(name=n))
    redis.resume()
    wait_until(is_reachable)
    forget_copies()

    print(f"20 saves: {bound:.2f} s of a binding, {published:.2f} s published")
    assert bound < 1
    assert published < 1


def took(save: Callable[[str], Any]) -> float:
    started = time.monotonic()
    for number in range(20):
        save(str(number))
    return time.monotonic() - started


async def test_a_revocation_reaches_two_processes_within_a_second(
    redis: Valkey, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    project = make_project("redis")
    servers = [daphne(project), daphne(project)]
    stream = Announcements()
    pages = [
        LivePage(server.ws_url, stream.signed_stream_name)
        for server in servers
        for _ in range(5)
    ]
    await asyncio.gather(*(page.__aenter__() for page in pages))

    started = time.monotonic()
    turbo.revoke(stream=stream)
    await asyncio.gather(*(page.until(lambda p=page: bool(p.denied)) for page in pages))
    seconds = time.monotonic() - started
    for page in pages:
        await page.__aexit__()

    print(f"revoked after {seconds:.3f} s")
    assert seconds < 1


async def test_100_changes_in_one_second_are_4_refreshes_at_most(
    make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    """These are the first, one each half second, the last, and one of the script."""
    project = make_project("redis", MIDDLEWARE=MIDDLEWARE)
    site = BoardSite(project, daphne(project))
    html = await site.get("/boards/1/")
    signed = html.split('signed-stream-name="')[1].split('"')[0]
    async with LivePage(site.url.replace("http", "ws"), signed) as page:
        start = time.time() + 4
        script = (
            "from tests.project.boards import change\n"
            f"change(1, 'script', 50, {start})\n"
        )
        running = asyncio.ensure_future(asyncio.to_thread(project.shell, script))
        await site.get("/boards/1/touch/", times=50, by="view", start=start)
        await running
        await asyncio.sleep(2)

    print(f"{len(page.data)} refreshes")
    assert 1 <= len(page.data) <= 4
