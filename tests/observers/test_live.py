"""Real servers, other processes, and the client that others wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.observers.live import (
    APPLICATION,
    MakeProject,
    Script,
    live_settings,
    socket,
)
from tests.support.clients import connect
from tests.support.node import node_modules
from tests.support.servers import PATIENCE, Daphne, Project, Uvicorn

pytestmark = pytest.mark.slow

#: The client that others wrote, and what it needs.
PACKAGES = ("dcrf-client@0.3.0", "ws@8.18.3")

SAVE = "from django.contrib.auth.models import User; u = User.objects.get(pk={}); "


@pytest.fixture
def layer() -> str:
    return "redis"


@pytest.fixture
def project(layer: str, make_project: MakeProject) -> Project:
    return make_project(layer, **live_settings())


each_layer = pytest.mark.parametrize("layer", ["redis", "pubsub", "sqlite"])


@pytest.fixture
def server(project: Project, daphne: Callable[..., Daphne]) -> Daphne:
    return daphne(project, application=APPLICATION)


@each_layer
def test_documented_case(project: Project, server: Daphne) -> None:
    """Retrieve and subscribe; a save and a delete in the shell of another process."""
    with socket(server) as client:
        retrieved = client.ask(action="retrieve", request_id=1, pk=1)
        subscribed = client.ask(action="subscribe_instance", request_id=4, pk=1)
        project.shell(f"{SAVE.format(1)} u.username = 'anne'; u.save()")
        updated = client.next()
        project.shell(f"{SAVE.format(1)} u.delete()")
        deleted = client.next()
        left = client.ask(action="unsubscribe_instance", request_id=4, pk=1)

    assert retrieved == {
        "action": "retrieve",
        "errors": [],
        "response_status": 200,
        "request_id": 1,
        "data": {"id": 1, "username": "ann"},
    }
    assert subscribed == {
        "action": "subscribe_instance",
        "errors": [],
        "response_status": 201,
        "request_id": 4,
        "data": None,
    }
    assert updated == {
        "action": "update",
        "errors": [],
        "response_status": 200,
        "request_id": 4,
        "data": {"id": 1, "username": "anne"},
    }
    assert deleted == {
        "action": "delete",
        "errors": [],
        "response_status": 204,
        "request_id": 4,
        "data": {"pk": 1},
    }
    assert left["response_status"] == 204


def test_two_servers_and_a_restart(
    project: Project, server: Daphne, uvicorn: Callable[..., Uvicorn]
) -> None:
    """A position of one server is good at another; one that ends says so."""
    other = uvicorn(project, application=APPLICATION)
    with socket(server) as client:
        start = client.ask(
            action="subscribe_instance", request_id=4, pk=1, snapshot=True
        )
    server.stop()
    project.shell(f"{SAVE.format(1)} u.username = 'anne'; u.save()")
    with socket(other) as client:
        again = client.ask(
            action="subscribe_instance", request_id=5, pk=1, since=start["position"]
        )
        missed = client.next()

    assert start["data"] == {"id": 1, "username": "ann"}
    assert again["recovered"] is True
    assert (missed["action"], missed["data"]["username"]) == ("update", "anne")


@pytest.fixture
def dcrf_client(server: Daphne) -> Iterator[Script]:
    url = server.ws_url + "/ws/all/"
    script = Script("dcrf_client.cjs", url, modules=node_modules(*PACKAGES))
    try:
        yield script
    finally:
        script.end()


def test_dcrf_client(project: Project, server: Daphne, dcrf_client: Script) -> None:
    """Every call of the npm package, unchanged, over the multiplexer."""

    def call(*given: Any) -> Any:
        dcrf_client.tell(given)
        return dcrf_client.heard()

    users = [
        {"id": n, "username": name} for n, name in enumerate(("ann", "bob", "eve"), 1)
    ]
    assert call("list", "people") == {"result": users}
    assert call("retrieve", "people", 2) == {"result": users[1]}
    created = call("create", "people", {"username": "dan"})["result"]
    assert created["username"] == "dan"
    pk = created["id"]
    renamed = {"id": pk, "username": "daniel"}
    assert call("update", "people", pk, {"username": "daniel"}) == {"result": renamed}
    assert call("create", "people", {}) == {
        "refused": 400,
        "errors": [{"username": ["This field is required."]}],
    }
    assert call("retrieve", "people", 99) == {"refused": 404, "errors": ["Not found"]}

    assert call("subscribe", "people", pk) == {"result": None}
    assert call("subscribe", "people", 1) == {"result": None}
    dcrf_client.tell(["patch", "people", pk, {"username": "danny"}])
    patched = {"id": pk, "username": "danny"}
    heard = [dcrf_client.heard(), dcrf_client.heard()]
    assert {"result": patched} in heard
    assert {"event": "update", "data": patched} in heard

    project.shell(f"{SAVE.format(1)} u.username = 'anne'; u.save()")
    update = {"event": "update", "data": {"id": 1, "username": "anne"}}
    assert dcrf_client.heard() == update

    server.kill()
    server.start()  # the client comes back and subscribes again
    assert "result" in call("list", "people")
    assert call("cancel", 1) == {"result": True}
    project.shell(f"{SAVE.format(1)} u.save()")
    dcrf_client.tell(["delete", "people", pk])
    heard = [dcrf_client.heard(), dcrf_client.heard()]
    assert {"result": None} in heard
    assert {"event": "delete", "data": {"id": pk}} in heard
    assert call("retrieve", "people", pk)["refused"] == 404


@pytest.fixture
def own_client(server: Daphne) -> Iterator[Script]:
    script = Script("observers_client.mjs", server.ws_url + "/ws/all/")
    try:
        yield script
    finally:
        script.end()


def test_own_client(project: Project, server: Daphne, own_client: Script) -> None:
    """What changes while the server is away is there when it is back, once."""
    own_client.tell(["retrieve", 2])
    assert own_client.heard() == {"result": {"id": 2, "username": "bob"}}
    own_client.tell(["create", {}])
    required = {"username": ["This field is required."]}
    assert own_client.heard() == {"refused": 400, "errors": [required]}
    own_client.tell(["observe", 1])
    assert own_client.heard() == {
        "action": "snapshot",
        "data": {"id": 1, "username": "ann"},
    }

    project.shell(f"{SAVE.format(1)} u.username = 'anne'; u.save()")
    updated = own_client.heard()
    server.kill()
    project.shell(f"{SAVE.format(1)} u.username = 'anna'; u.save()")
    server.start()
    missed = own_client.heard()
    own_client.tell(["patch", 1, {"username": "annie"}])
    last = [own_client.heard(), own_client.heard()]

    assert updated == {"action": "update", "data": {"id": 1, "username": "anne"}}
    assert missed == {"action": "update", "data": {"id": 1, "username": "anna"}}
    data = {"id": 1, "username": "annie"}
    assert {"action": "update", "data": data} in last
    assert {"result": data} in last


@each_layer
async def test_everybody_is_told_of_everything(
    project: Project, server: Daphne
) -> None:
    """Sixty clients of one object, twenty saves in another process: none is lost."""
    save = f"{SAVE.format(1)}\nfor _ in range(20): u.save()"
    url = f"{server.ws_url}/ws/"
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(url)) for _ in range(60)]
        for number, client in enumerate(sockets):
            subscribe = {"action": "subscribe_instance", "request_id": number, "pk": 1}
            await client.send(json.dumps(subscribe))
            assert json.loads(await client.recv())["response_status"] == 201
        await asyncio.to_thread(project.shell, save)
        async with asyncio.timeout(PATIENCE):
            heard = [
                [json.loads(await client.recv()) for _ in range(20)]
                for client in sockets
            ]

    update = {
        "action": "update",
        "errors": [],
        "response_status": 200,
        "data": {"id": 1, "username": "ann"},
    }
    for number, events in enumerate(heard):
        assert events == [update | {"request_id": number}] * 20
