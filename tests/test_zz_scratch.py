import pytest, asyncio
from tests.testapp.models import *
import urllib.request

APP = "plain_asgi:application"


def test_valkey(valkey):
    with valkey.client() as c:
        c.set("a", "b")
    valkey.kill()
    valkey.start()
    with valkey.client() as c:
        assert c.get("a") is None
    valkey.pause()


def test_valkey2(valkey):
    with valkey.client() as c:
        assert c.ping()


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_db():
    CompositeItem.objects.create(tenant=1, number=2)
    CompositeItem.objects.using("other").create(tenant=1, number=2)


@pytest.mark.django_db
def test_db2():
    Child.objects.create(name="x")


@pytest.mark.django_db(transaction=True)
async def test_adb():
    await UuidItem.objects.acreate(name="x")


def test_pg(make_project, daphne, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/tmp/t")
    p = make_project("redis", database="postgres")
    assert (
        p.shell("from tests.testapp.models import Room; print(Room.objects.count())")
        == "2"
    )
    s = daphne(p, application=APP)
    assert urllib.request.urlopen(s.url + "/login/ann/").read() == b"ok"


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.browser
async def test_page(page, new_page, make_project, kind, request, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/tmp/t")
    p = make_project()
    s = request.getfixturevalue(kind)(p, application=APP)
    await page.goto(s.url + "/login/ann/")
    assert "ok" in await page.content()
    q = await new_page()
    await q.goto(s.url)
    assert (await q.context.cookies()) == []
    s.kill()
    s.start()
    await q.goto(s.url)


async def test_async_other():
    await asyncio.sleep(0)


@pytest.mark.django_db
def test_db3():
    Child.objects.create(name="x")
