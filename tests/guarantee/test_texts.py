"""A text ends as the same on every page, character for character."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.support.full import IS_FULL, with_redis_or_postgres
from tests.support.servers import PATIENCE, Project, Valkey, wait_until
from tests.support.text_pages import TextPage
from tests.testapp.streams import Announcements
from turbo.delivery import questions
from turbo.delivery.broadcast import flush, get_publisher
from turbo.replay import get_replay
from turbo.replay.texts import TextPlace
from turbo.streams import text_sender
from turbo.streams.text_sender import read_text

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]

CHUNKS, PAGES = (5_000, 200) if IS_FULL else (600, 20)
#: What tokens of a model are made of, whole or not.
WORDS = [
    "a",
    " b",
    "ä",
    "😀",
    "\u0301",
    "<b>",
    "&amp;",
    "\n",
    "\r\n",
    "👩\u200d👧",
    "日本",
]


#: A process that dies while it writes; its lease is a short one.
KILLED = """
import os
import turbo
from tests.testapp.streams import Announcements
from turbo.database.log import texts
from turbo.replay import redis_texts

redis_texts.LEASE, texts.LASTING = 2.0, 2_000_000
text = Announcements().text(id="answer").start()
text.write("half an ")
assert turbo.flush(60)
os._exit(0)
"""


def chunks(seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(CHUNKS)]


async def disturb(pages: list[TextPage], seed: int) -> None:
    """Load, cut and put to sleep pages at random, until cancelled."""
    rng = random.Random(seed)
    while True:
        page = rng.choice(pages)
        page.away = rng.choice([0.0, 0.0, 0.3, 1.0])
        if rng.random() < 0.5:
            page.cut()
        else:
            await page.load()
        await asyncio.sleep(2.0 / len(pages))


@with_redis_or_postgres
async def test_pages_that_come_and_go_end_with_the_same_text(
    layer: str, make_project: Callable[..., Any], uvicorn: Callable[..., Any]
) -> None:
    """They load, reload, are cut and sleep while it is written."""
    server = uvicorn(make_project(layer))
    pages = [TextPage(server.url) for _ in range(PAGES)]
    await asyncio.gather(*(page.__aenter__() for page in pages[: PAGES // 2]))
    disturbing = asyncio.ensure_future(disturb(pages[: PAGES // 2], 1))
    late = iter(pages[PAGES // 2 :])
    arriving = []

    async with Announcements().text(id="answer") as text:
        for number, chunk in enumerate(chunks(0)):
            await text.awrite(chunk)
            await asyncio.sleep(0.005)
            if number % (2 * CHUNKS // PAGES) == 0:
                arriving.append(asyncio.ensure_future(next(late).__aenter__()))
    disturbing.cancel()
    await asyncio.gather(*arriving)
    for page in pages:
        page.away = 0.0
    await asyncio.gather(*(page.until_ended() for page in pages))
    for page in pages:
        await page.__aexit__()
    [(_, number)] = await get_replay().tips([Announcements().stream_id])

    assert [page.text == text.text for page in pages] == [True] * PAGES
    assert {page.state for page in pages} == {"finished"}
    assert number == 1, "only the end is in the log"


@with_redis_or_postgres
async def test_a_process_that_is_killed_leaves_a_text_that_has_failed(
    layer: str, make_project: Callable[..., Any], uvicorn: Callable[..., Any]
) -> None:
    """Its lease ends, and another one may write the text anew."""
    project: Project = make_project(layer)
    server = uvicorn(project)
    await sync_to_async(project.shell)(KILLED)
    page = TextPage(server.url)
    async with page:
        await page.until(lambda: page.text == "half an ")
        place = TextPlace(Announcements().stream_id, "answer")

        def has_fallen_silent() -> bool:
            [written] = asyncio.run(get_replay().texts.read([place]))
            return written is not None and written.state == "silent"

        await asyncio.to_thread(
            wait_until, has_fallen_silent, what="the lease has ended"
        )
        await page.load()
        await page.until(lambda: page.state == "failed")

        async with Announcements().text(id="answer") as text:
            text.write("another answer")
        await page.until(lambda: page.state == "finished")

    assert page.text == "another answer"


async def test_a_text_outlives_a_redis_that_was_away_and_empty(
    layer: str,
    valkey: Valkey,
    make_project: Callable[..., Any],
    uvicorn: Callable[..., Any],
) -> None:
    """The writer has all of it, and puts it again."""
    server = uvicorn(make_project(layer))
    page = TextPage(server.url)
    async with page:
        async with Announcements().text(id="answer") as text:
            text.write("before, ")
            await page.until(lambda: page.text == "before, ")
            await asyncio.to_thread(valkey.stop)
            text.write("meanwhile, ")
            assert not await asyncio.to_thread(flush, 0.2)
            await asyncio.to_thread(valkey.start)
            await asyncio.to_thread(valkey.flush)
            text.write("after")
            assert await asyncio.to_thread(flush, PATIENCE)
        await page.until_ended()

    assert page.text == "before, meanwhile, after"


def test_a_redis_that_hangs_holds_a_page_up_once(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and commands, and answers nothing."""
    now, stream = 0.0, Announcements()
    monkeypatch.setattr(get_publisher().questions, "_clock", lambda: now)
    with stream.text(id="answer") as text:
        text.write("before, ")
        assert flush(PATIENCE)
        valkey.pause()

        monkeypatch.setattr(questions, "PATIENCE", 0.5)
        assert read_text(stream.stream_id, "answer") is None
        monkeypatch.setattr(questions, "PATIENCE", PATIENCE)
        for _ in range(20):  # each of them would wait for so long
            assert read_text(stream.stream_id, "answer") is None
        monkeypatch.setattr(text_sender, "PATIENCE", 0.5)
        with stream.text(id="other") as other:
            other.write("meanwhile")
        text.write("after")
        valkey.resume()

    assert flush(PATIENCE)
    now += 2 * PATIENCE
    wait_until(lambda: read_text(stream.stream_id, "answer") is not None)
    for id, data in [("answer", "before, after"), ("other", "meanwhile")]:
        written = read_text(stream.stream_id, id)
        assert written is not None
        assert (written.data, written.state) == (data, "finished")
