"""
A person works on a page that is refreshed, healed and cut off all the time.

It runs with ``TURBO_SOAK_SECONDS``, which ``nox --session full`` sets, and its seed is
another each time; ``TURBO_SEED`` repeats a run.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random, SystemRandom

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site
from tests.browser.watching import turn_clock
from tests.browser.work import Work
from tests.support.full import for_full_runs
from tests.support.node import node_modules

pytestmark = [pytest.mark.browser, for_full_runs]

REFRESHES, CUTS = 200, 20
SEED = int(os.environ.get("TURBO_SEED") or SystemRandom().randrange(10**6))


@pytest.fixture(scope="session")
def widgets() -> Path:
    return node_modules("quill@2.0.3", "sortablejs@1.15.7")


async def test_nothing_is_lost_moved_or_sent_twice(
    site: Site, page: Page, widgets: Path
) -> None:
    print(f"TURBO_SEED={SEED}")
    site.files = {
        "quill.js": widgets / "quill/dist/quill.js",
        "sortable.js": widgets / "sortablejs/Sortable.js",
    }
    random = Random(SEED)
    work = Work(site, page, random)
    await turn_clock(page)
    await work.open()
    actions = [work.type_text, work.pick, work.choose, work.tick, work.comment]
    actions += [work.write, work.use_dialog, work.sort, work.submit]
    ways = random.choices([work.refresh, work.fail, work.lose], (4, 2, 1), k=REFRESHES)
    work.disturbances = [*ways, *[work.cut] * CUTS]
    random.shuffle(work.disturbances)

    while work.disturbances:
        await random.choice(actions)()
        await work.disturb()
        if random.random() < 0.3:
            await work.check()
    await work.check()

    assert len(work.server.posts) == len(work.sent)
    for sent, posted in zip(work.sent, work.server.posts, strict=True):
        assert {name: posted.get(name, "") for name in sent} == sent
    assert await work.live.is_same()
