"""The files of the how-tos on deployment, taken from the pages, run the sample chat."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.clients import LivePage, connect
from tests.support.documents import DOCS, ROOT, Block, blocks
from tests.support.servers import PATIENCE, Process, free_port

pytestmark = pytest.mark.slow

HOST = "chat.example.com"
HEADERS = {"Host": HOST, "Referer": f"https://{HOST}/"}


def block(caption: str, page: str = "deployment") -> Block:
    found = blocks(DOCS / f"howto/{page}.rst")
    return next(item for item in found if item.caption == caption)


class Site:
    """Two servers and nginx, with their sockets in a directory of this test."""

    #: The page with the file for nginx.
    nginx_page = "deployment"

    def __init__(self, directory: Path, page: str, redis_url: str) -> None:
        self.directory = directory
        self.page = page
        self.port = free_port()
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings_production",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sample_chat")]),
            "SECRET_KEY": "only for this test, and long enough for it",
            "ALLOWED_HOSTS": HOST,
            "REDIS_URL": redis_url,
            "DATABASE": str(directory / "db.sqlite3"),
            "STATIC_ROOT": str(directory / "staticfiles"),
        }
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.nginx: Process | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start_server(self, number: str) -> None:
        """Start what ``chat@NUMBER.service`` would."""
        text = block("/etc/systemd/system/chat@.service", self.page).code
        text = text.replace("%i", number).replace("/run/chat", str(self.directory))
        unit = dict(re.findall(r"(?m)^(Exec\w+)=(.*)", text))
        _, *arguments = shlex.split(unit["ExecStart"])
        subprocess.run(shlex.split(unit["ExecStartPre"]), check=True)
        with (self.directory / f"daphne-{number}.log").open("ab") as log:
            self.servers[number] = subprocess.Popen(
                [sys.executable, "-m", "daphne", *arguments],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        subprocess.run(shlex.split(unit["ExecStartPost"]), check=True, timeout=PATIENCE)

    async def wait_for_clock(self, number: str, session: str) -> None:
        """Wait until a server knows the log's clock, which the first page reads."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.directory / f"{number}.sock"))
        async with httpx.AsyncClient(
            base_url=f"http://{HOST}",
            transport=transport,
            headers=HEADERS | {"X-Forwarded-Proto": "https"},
            cookies={"sessionid": session},
            timeout=PATIENCE,
        ) as http:
            while 'since="?"' in (await http.get("/rooms/1/")).text:
                pass

    def stop_server(self, number: str) -> None:
        server = self.servers.pop(number)
        server.terminate()
        server.wait(PATIENCE)

    def start_nginx(self) -> None:
        certificate(self.directory)
        site = block("/etc/nginx/sites-enabled/chat", self.nginx_page).code
        for old, new in {
            "/run/chat": str(self.directory),
            "/etc/ssl": str(self.directory),
            "/srv/chat": str(self.directory),
            "listen 443": f"listen 127.0.0.1:{self.port}",
        }.items():
            site = site.replace(old, new)
        path = self.directory / "nginx.conf"
        path.write_text(NGINX.format(site=site, directory=self.directory))
        command = ["nginx", "-p", str(self.directory), "-c", str(path)]
        self.nginx = Process(command, port=self.port, directory=self.directory)
        self.nginx.env = self.env
        self.nginx.start()

    def stop(self) -> None:
        for number in list(self.servers):
            self.stop_server(number)
        if self.nginx is not None:
            self.nginx.stop()


NGINX = """
daemon off;
user root;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    include /etc/nginx/mime.types;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{site}
}}
"""


def certificate(directory: Path) -> None:
    """Write a certificate that nobody but this test trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "chat.pem").write_bytes(signed.public_bytes(pem))
    secret = key.private_bytes(pem, plain, serialization.NoEncryption())
    (directory / "chat.key").write_bytes(secret)


@pytest.fixture(params=["deployment"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if shutil.which("nginx") is None or os.geteuid() != 0:
        pytest.skip("nginx is not there, or may not be started")
    has_redis = request.param == "deployment"
    url = request.getfixturevalue("valkey").url if has_redis else ""
    site = Site(tmp_path, request.param, url)
    try:
        yield site
    finally:
        site.stop()


def live(site: Site, html: str, session: str) -> LivePage:
    """Return a page of the room; two servers may overtake each other in the list."""
    found = [
        (signed, since)
        for signed, since in re.findall(
            r'signed-stream-name="(.+?)" since="(.+?)"', html
        )
        if b"RoomStream:" in urlsafe_b64decode(signed.partition(":")[0] + "==")
    ]
    page = LivePage(
        f"wss://{HOST}:{site.port}",
        *(signed for signed, _ in found),
        since=found[0][1],
        port=site.port,
        **trusting(),
        additional_headers={"Cookie": f"sessionid={session}"},
    )
    page.away = 0.1
    return page


@pytest.mark.parametrize("site", ["deployment", "without-redis"], indirect=True)
async def test_the_site_of_the_how_to_and_its_rolling_restart(site: Site) -> None:
    if site.page == "without-redis":
        site.manage("migrate", "--database", "turbo", "-v", "0")
    site.manage("migrate", "-v", "0")
    site.manage("demo")
    site.manage("collectstatic", "--no-input", "-v", "0")
    for number in ("1", "2"):
        site.start_server(number)
    site.start_nginx()
    options = {"headers": HEADERS, "verify": False, "follow_redirects": True}
    async with httpx.AsyncClient(
        base_url=site.url, timeout=PATIENCE, **options
    ) as http:  # type: ignore[arg-type]
        await http.get("/login/")
        csrf = {"X-CSRFToken": http.cookies["csrftoken"]}
        data = {"username": "ada", "password": "ada"}
        await http.post("/login/", data=data, headers=csrf)
        for number in site.servers:
            await site.wait_for_clock(number, http.cookies["sessionid"])
        html = (await http.get("/rooms/1/")).text
        script = re.findall(r'src="(/\S+/turbo-channels\.min\.\w+\.js)"', html)[0]
        csrf = {"X-CSRFToken": http.cookies["csrftoken"]}

        answers: Counter[int] = Counter()

        async def probe() -> None:
            """Visit as everybody else does meanwhile."""
            while True:
                answers[(await http.get("/login/")).status_code] += 1
                await asyncio.sleep(0.02)

        probing = asyncio.ensure_future(probe())
        async with live(site, html, http.cookies["sessionid"]) as page:
            for n in range(20):
                text = {"text": f"message {n}"}
                answer = await http.post("/rooms/1/messages/", data=text, headers=csrf)
                assert answer.status_code == 200
                if n in (5, 12):
                    number = str(1 + n // 10)
                    await sync_to_async(site.stop_server)(number)
                    starting = sync_to_async(site.start_server)(number)
                    await asyncio.wait_for(starting, PATIENCE)
            shown = lambda: [t for t in page.data if 'target="messages"' in t]  # noqa: E731
            await page.until(lambda: len(shown()) == 20)
        probing.cancel()

        assert answers.keys() == {200}, answers
        client = (await http.get(script)).text
        (source_map,) = re.findall(r"//# sourceMappingURL=(\S+)", client)
        assert (await http.get(f"/static/turbo/{source_map}")).status_code == 200
    order = [int(re.findall(r"message (\d+)<", text)[0]) for text in shown()]
    assert order == list(range(20))
    assert (page.gaps, page.doubled, page.denied) == (0, 0, [])


async def test_the_proxy_takes_what_is_left_to_it(site: Site) -> None:
    """What ``docs/topics/security.rst`` leaves to nginx: too many, too large, half."""
    site.manage("migrate", "-v", "0")
    site.start_server("1")
    site.start_nginx()
    options = trusting()
    async with AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(handshake(site, **options))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await handshake(site, **options)
    async with httpx.AsyncClient(base_url=site.url, verify=False) as http:
        body = {"content": b"x" * 1_100_000, "headers": HEADERS, "timeout": PATIENCE}
        too_large = await http.post("/login/", **body)  # type: ignore[arg-type]
        forged = HEADERS | {"X-Forwarded-For": "192.0.2.66"}
        await http.get("/login/", headers=forged, timeout=PATIENCE)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", site.port, ssl=options["ssl"]
    )
    writer.write(f"GET /ws/ HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: web".encode())
    closed = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()

    assert refused.value.response.status_code == 429
    assert too_large.status_code == 413
    assert b"101" not in closed
    log = (site.directory / "daphne-1.log").read_text()
    assert "127.0.0.1:0 - - " in log
    assert "192.0.2.66" not in log


def trusting() -> dict[str, Any]:
    """Return options of a client that trusts the certificate of this test."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"ssl": context, "host": "127.0.0.1", "origin": f"https://{HOST}"}


def handshake(site: Site, **options: Any) -> websockets.connect:
    return connect(f"wss://{HOST}:{site.port}/ws/", port=site.port, **options)
