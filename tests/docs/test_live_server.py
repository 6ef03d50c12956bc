"""The files of the how-to on WSGI run the site beside its live servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async

from tests.connections.test_sse import Events
from tests.docs.test_deployment import HEADERS, HOST, Site, block, live, trusting
from tests.support.clients import connect
from tests.support.documents import ROOT
from tests.support.servers import PATIENCE, wait_until

pytestmark = pytest.mark.slow

PAGE = "live-server"
PROGRAMS = {"gunicorn": ["-m", "gunicorn"], "python": []}


class LiveSite(Site):
    """gunicorn on WSGI and two live servers, started as their unit files say."""

    nginx_page = PAGE

    def start_web(self) -> None:
        self._start("web", "chat-web.service")
        wait_until((self.directory / "web.sock").exists)

    def start_live(self, number: str) -> None:
        self._start(number, "chat-live@.service")

    def _start(self, number: str, name: str) -> None:
        text = block(f"/etc/systemd/system/{name}", PAGE).code
        text = text.replace("%i", number).replace("/run/chat", str(self.directory))
        unit = dict(re.findall(r"(?m)^(Exec\w+)=(.*)", text))
        program, *arguments = shlex.split(unit["ExecStart"])
        with (self.directory / f"{name}-{number}.log").open("ab") as log:
            self.servers[number] = subprocess.Popen(
                [sys.executable, *PROGRAMS[Path(program).name], *arguments],
                cwd=ROOT / "sample_chat",
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if post := unit.get("ExecStartPost"):
            subprocess.run(shlex.split(post), check=True, timeout=PATIENCE)

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.directory.glob("*.log"))


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveSite]:
    if shutil.which("nginx") is None or os.geteuid() != 0:
        pytest.skip("nginx is not there, or may not be started")
    site = LiveSite(tmp_path, PAGE, request.getfixturevalue("valkey").url)
    try:
        yield site
    finally:
        site.stop()


async def page_of(http: httpx.AsyncClient) -> str:
    """Return the page of the room, once the worker that answers knows the clock."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await http.get("/rooms/1/")
            if answer.status_code == 200 and 'since="?"' not in answer.text:
                return answer.text


async def log_in(http: httpx.AsyncClient) -> None:
    await http.get("/login/")
    csrf = {"X-CSRFToken": http.cookies["csrftoken"]}
    data = {"username": "ada", "password": "ada"}
    await http.post("/login/", data=data, headers=csrf)


async def test_a_save_on_wsgi_arrives_over_the_live_servers(site: LiveSite) -> None:
    """They are stopped and started one after the other meanwhile."""
    site.manage("migrate", "-v", "0")
    site.manage("demo")
    site.manage("collectstatic", "--no-input", "-v", "0")
    site.start_web()
    for number in ("1", "2"):
        site.start_live(number)
    site.start_nginx()
    options: dict[str, Any] = {"headers": HEADERS, "verify": False}
    async with httpx.AsyncClient(
        base_url=site.url, timeout=PATIENCE, follow_redirects=True, **options
    ) as http:
        await log_in(http)
        html = await page_of(http)
        session = http.cookies["sessionid"]
        csrf = {"X-CSRFToken": http.cookies["csrftoken"]}

        async with live(site, html, session) as page:
            for n in range(20):
                text = {"text": f"message {n}"}
                answer = await http.post("/rooms/1/messages/", data=text, headers=csrf)
                assert answer.status_code == 200
                if n in (5, 12):
                    number = str(1 + n // 10)
                    await sync_to_async(site.stop_server)(number)
                    starting = sync_to_async(site.start_live)(number)
                    await asyncio.wait_for(starting, PATIENCE)
            shown = lambda: [t for t in page.data if 'target="messages"' in t]  # noqa: E731
            await page.until(lambda: len(shown()) == 20)

        async with http.stream(
            "GET", "/turbo/sse/", params=names_in(html), timeout=PATIENCE
        ) as response:
            events, replayed = Events(response), list[str]()
            while len(replayed) < 20:
                data = await events.data()
                replayed += [data] if 'target="messages"' in data else []
        elsewhere = await http.get("/turbo/nothing/")

    order = [int(re.findall(r"message (\d+)<", text)[0]) for text in shown()]
    assert order == list(range(20))
    assert (page.gaps, page.doubled, page.denied) == (0, 0, [])
    assert set(page.codes) <= {1012, None}
    assert replayed == shown()
    assert (elsewhere.status_code, elsewhere.text) == (
        404,
        "This server has no pages.\n",
    )
    assert "Traceback" not in site.logs()


def names_in(html: str) -> dict[str, str]:
    """Return the query for an event stream of the room."""
    found = dict(re.findall(r'signed-stream-name="(.+?)" since="(.+?)"', html))
    [signed] = [name for name in found if "RoomStream:" in str(parts_of(name))]
    return {"stream": signed, "since": found[signed]}


def parts_of(signed: str) -> Any:
    return json.loads(urlsafe_b64decode(signed.partition(":")[0] + "=="))


async def test_every_socket_of_the_site_is_there_and_for_its_own_pages(
    site: LiveSite,
) -> None:
    """The live server knows which site it is by the host that nginx passes."""
    site.manage("migrate", "-v", "0")
    site.start_live("1")
    site.start_nginx()

    url, options = f"wss://{HOST}:{site.port}/ws/", trusting()
    async with connect(url, port=site.port, **options) as page:
        await page.send('{"type":"ping"}')
        answer = await page.recv()
    async with connect(f"{url}pocket/", port=site.port, **options) as observer:
        await observer.send("{}")
        error = json.loads(await observer.recv())
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(url, port=site.port, **options | {"origin": "https://evil.test"})

    assert answer == '{"type":"pong"}'
    assert error["stream"] is None  # a multiplexer answers
    assert refused.value.response.status_code == 403


def test_the_application_of_the_how_to_is_that_of_the_sample_chat() -> None:
    code = block("config/wsgi.py", PAGE).code

    assert code == (ROOT / "sample_chat/config/wsgi.py").read_text()
