import asyncio, random
import pytest
from playwright.async_api import expect
from tests.sample_chat.conftest import environment, MANAGE
from tests.sample_chat.test_live import live
import sys
pytestmark = pytest.mark.browser

async def test_soak(pair, valkey, demo, log_in):
    grace = await log_in(pair[1], "grace")
    await live(grace, "/rooms/1/")
    code = """
import time
from chat.models import Message, Room
m = Message.objects.filter(room=1).first()
a, r = m.author, Room.objects.get(pk=1)
for i in range(250):
    Message.objects.create(room=r, author=a, text=f"soak {i}")
    if i % 10 == 0:
        x = Message.objects.filter(room=r).order_by("-pk")[3:4].get(); x.delete()
    time.sleep(0.04)
"""
    env = environment(demo) | {"REDIS_URL": valkey.url}
    proc = await asyncio.create_subprocess_exec(sys.executable, MANAGE, "shell", "--no-imports", "-c", code, env=env)
    rnd = random.Random(5)
    n = 0
    while proc.returncode is None:
        act = rnd.choice(["visit1", "visit2", "back", "replace", "replace", "cut"])
        if act == "visit1": await grace.evaluate("Turbo.visit('/rooms/1/')")
        if act == "visit2": await grace.evaluate("Turbo.visit('/rooms/2/')")
        if act == "replace": await grace.evaluate("Turbo.visit(location.href, {action:'replace'})")
        if act == "back": await grace.evaluate("history.back()")
        if act == "cut": await grace.context.set_offline(True); await grace.context.set_offline(False)
        n += 1
        await asyncio.sleep(rnd.random() * 0.4)
        try: await asyncio.wait_for(proc.wait(), 0.01)
        except asyncio.TimeoutError: pass
        if "rooms" not in grace.url: await grace.goto("/rooms/1/")
    print("acts", n, grace.url)
    if not grace.url.endswith("/rooms/1/"):
        await grace.evaluate("Turbo.visit('/rooms/1/')"); await grace.wait_for_url("**/rooms/1/")
    await asyncio.sleep(2)
    ids = "[...document.querySelectorAll('#messages > turbo-frame')].map(e => e.id)"
    got = await grace.evaluate(ids)
    await grace.reload()
    fresh = await grace.evaluate(ids)
    print(len(got), len(fresh))
    assert got == fresh
    assert len(set(got)) == len(got)
