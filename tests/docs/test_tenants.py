"""The code of the how-to on tenants runs two tenants with the same keys, live."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings

from tests.support.clients import LivePage
from tests.support.documents import DOCS, blocks
from tests.support.servers import (
    PATIENCE,
    ROOT,
    Daphne,
    Postgres,
    Project,
    channel_layer,
)
from turbo.delivery.names import sign

PAGE = DOCS / "howto/tenants.rst"
HOSTS = {"acme.localhost": "acme", "globex.localhost": "globex"}
LOBBY = "testapp:RoomStream:1"
CELLAR = "testapp:RoomStream:2"


class Site(Project):
    """A project that is made of the files of the how-to, with two tenants."""

    @property
    def env(self) -> dict[str, str]:
        places = [str(self.directory), os.environ.get("PYTHONPATH", "")]
        return super().env | {"PYTHONPATH": os.pathsep.join(filter(None, places))}

    def in_tenant(self, name: str, code: str) -> str:
        """Run code in a tenant, in a process of its own."""
        return self.shell(f"{ENTER.format(name)}\n{IMPORTS}\n{code}")

    def spawn(self, code: str) -> int:
        """Run code in a process that may be killed; return how it ended."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django\ndjango.setup()\n{code}"],
            cwd=ROOT,
            env=self.env,
            timeout=PATIENCE,
        )
        return done.returncode


ENTER = "from config.schemas import tenant\nscope = tenant({!r})\nscope.__enter__()"
IMPORTS = """
import turbo
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from tests.testapp.models import Message, Room
"""


def files(directory: Path) -> dict[str, Any]:
    """Write the files of the page, and return its settings."""
    values: dict[str, Any] = {}
    for block in blocks(PAGE, "python"):
        if block.caption == "config/settings.py" and "config.schemas" in block.code:
            exec(block.code, values)
        elif block.caption.endswith(("schemas.py", "migrate_tenants.py")):
            path = directory / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            for parent in path.relative_to(directory).parents[:-1]:
                (directory / parent / "__init__.py").touch()
            path.write_text(block.code)
    return {
        "TURBO": values["TURBO"],
        "DATABASE_ROUTERS": values["DATABASE_ROUTERS"],
        "MIDDLEWARE": [*values["MIDDLEWARE"], *settings.MIDDLEWARE],
        "TENANTS": HOSTS,
        "ALLOWED_HOSTS": [".localhost"],
        "INSTALLED_APPS": [*settings.INSTALLED_APPS, "chat"],
    }


def make_site(directory: Path, database: dict[str, Any]) -> Site:
    site = Site(directory, files(directory) | {"DATABASES": {"default": database}})
    site.settings["TURBO"] |= {"RECHECK_INTERVAL": 3_600}
    site.settings["CHANNEL_LAYERS"] = {"default": channel_layer("postgres")}
    return site


TEMPLATE = "tenants"
SEED = "from django.core.management import call_command; call_command('seed')"


@pytest.fixture(scope="module")
def _two_tenants(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> None:
    """A database with two tenants, each with what every live server starts with."""
    site = make_site(tmp_path_factory.mktemp("tenants"), postgres.create(TEMPLATE))
    site.migrate()
    site.manage("migrate_tenants", "--run-syncdb", "-v", "0")
    for name in HOSTS.values():
        site.in_tenant(name, SEED)


@pytest.fixture
def site(_two_tenants: None, tmp_path: Path, postgres: Postgres) -> Site:
    """The site with a copy of that database."""
    name = f"{TEMPLATE}-{tmp_path.name}"
    return make_site(tmp_path, postgres.create(name, template=TEMPLATE))


def page(server: Daphne, host: str, name: str, **options: Any) -> LivePage:
    """Return a page of a tenant's site, with a name that some tenant has signed."""
    url = f"ws://{host}:{server.port}"
    return LivePage(url, name, host=server.address, **options)


async def test_pages_get_the_messages_of_their_tenant_only(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """Two rooms have the key 1; another process writes into both."""
    server = daphne(site)
    acme, globex = sign(f"acme/{LOBBY}"), sign(f"globex/{LOBBY}")

    async with (
        page(server, "acme.localhost", acme) as ours,
        page(server, "globex.localhost", globex) as theirs,
    ):
        site.in_tenant("globex", "Message.objects.create(room_id=1, text='for globex')")
        site.in_tenant("acme", "Message.objects.create(room_id=1, text='for acme')")
        await ours.until(lambda: bool(ours.data))
        await theirs.until(lambda: bool(theirs.data))

    assert ["for acme" in data for data in ours.data] == [True]
    assert ["for globex" in data for data in theirs.data] == [True]


async def test_a_name_of_another_tenant_is_refused(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """Over the socket and as an event stream; nothing is logged as an error."""
    server = daphne(site)
    name, bare = sign(f"acme/{LOBBY}"), sign(LOBBY)

    async with (
        page(server, "globex.localhost", name) as theirs,
        page(server, "globex.localhost", bare) as old,
        page(server, "acme.localhost", name) as ours,
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http,
    ):
        answer = await http.get(
            "/turbo/sse/", params={"stream": name}, headers={"host": "globex.localhost"}
        )

    assert (theirs.denied, old.denied, ours.denied) == (["foreign"], ["foreign"], [])
    assert (answer.status_code, answer.text) == (403, "foreign")
    assert "ERROR" not in server.log()


async def test_a_host_of_no_tenant_is_refused(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """Before the handshake is answered, so there is nobody to send a frame to."""
    server = daphne(site)
    stranger = page(server, "initech.localhost", sign(f"acme/{LOBBY}"))

    with pytest.raises(Exception, match="403"):
        await stranger._visit(f"ws://initech.localhost:{server.port}")

    assert "ERROR" not in server.log()


async def log_in(server: Daphne, host: str, username: str) -> str:
    """Return the cookie of a user who has logged in to a tenant's site."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        answer = await http.get(f"/login/{username}/", headers={"host": host})
    cookie = SimpleCookie(answer.headers["set-cookie"])
    return f"sessionid={cookie['sessionid'].value}"


async def test_permissions_are_asked_in_the_tenant_of_the_page(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """Ann has the same key in both, and may see the cellar in one of them."""
    site.in_tenant("globex", "Room.objects.get(pk=2).members.clear()")
    server = daphne(site)
    cookies = {host: await log_in(server, host, "ann") for host in HOSTS}

    async def denied(host: str, cookie: str) -> list[str]:
        name = sign(f"{HOSTS[host]}/{CELLAR}")
        headers = {"cookie": cookie}
        async with page(server, host, name, additional_headers=headers) as shown:
            return shown.denied

    assert await denied("acme.localhost", cookies["acme.localhost"]) == []
    assert await denied("globex.localhost", cookies["globex.localhost"]) == [
        "forbidden"
    ]
    # The session of one tenant is nobody's in the other.
    assert await denied("acme.localhost", cookies["globex.localhost"]) == ["forbidden"]


async def test_a_revocation_ends_the_pages_of_one_tenants_user(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """The user of the other tenant has the same key, and stays."""
    server = daphne(site)

    async def opened(host: str) -> LivePage:
        headers = {"cookie": await log_in(server, host, "ann")}
        name = sign(f"{HOSTS[host]}/{CELLAR}")
        return page(server, host, name, additional_headers=headers)

    async with (
        await opened("acme.localhost") as ours,
        await opened("globex.localhost") as theirs,
    ):
        site.in_tenant(
            "acme", "turbo.revoke(user=get_user_model().objects.get(username='ann'))"
        )
        await ours.until(lambda: bool(ours.denied))
        site.in_tenant("globex", "Message.objects.create(room_id=2, text='goes on')")
        await theirs.until(lambda: bool(theirs.data))

    assert (ours.denied, theirs.denied) == (["revoked"], [])


BOTH = """
with transaction.atomic():
    for name in ("acme", "globex"):
        with tenant(name):
            room = Room.objects.get(pk=1)
            Message.objects.create(room=room, text=f"saved in {name}")
            room.stream.update(text=f"verb in {name}", id="state")
"""


async def test_what_waits_for_a_commit_keeps_its_tenant(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """One transaction writes the same keys in two tenants; it commits in none."""
    server = daphne(site)

    async with (
        page(server, "acme.localhost", sign(f"acme/{LOBBY}")) as ours,
        page(server, "globex.localhost", sign(f"globex/{LOBBY}")) as theirs,
    ):
        site.in_tenant("", BOTH)
        await ours.until(lambda: len(ours.data) == 2)
        await theirs.until(lambda: len(theirs.data) == 2)

    for shown, name in ((ours, "acme"), (theirs, "globex")):
        found = re.findall(r"(saved|verb) in (\w+)", "".join(shown.data))
        assert sorted(found) == [("saved", name), ("verb", name)]


KILLED = f"""
import os, signal
{ENTER.format("globex")}
{IMPORTS}
with transaction.atomic():
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    Message.objects.create(room_id=1, text="from the outbox")
"""


async def test_the_outbox_tells_in_the_tenant_of_the_change(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """The process that saved is killed after the commit; the server tells."""
    site.settings["TURBO"] |= {"OUTBOX": True}
    server = daphne(site)

    async with (
        page(server, "acme.localhost", sign(f"acme/{LOBBY}")) as ours,
        page(server, "globex.localhost", sign(f"globex/{LOBBY}")) as theirs,
    ):
        assert site.spawn(KILLED) == -signal.SIGKILL
        await theirs.until(lambda: bool(theirs.data))
        site.in_tenant("acme", "Message.objects.create(room_id=1, text='later')")
        await ours.until(lambda: bool(ours.data))

    assert ["from the outbox" in data for data in theirs.data] == [True]
    assert ["later" in data for data in ours.data] == [True]


RAW = """
with connection.cursor() as cursor:
    cursor.execute("UPDATE testapp_message SET text = 'raw in globex'")
"""


async def test_a_captured_change_is_told_in_the_tenant_of_its_table(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    """A save is told once, by its signal, and raw SQL by the trigger of the table."""
    apps = [*site.settings["INSTALLED_APPS"], "tests.project.capturing.CapturingConfig"]
    site.settings["INSTALLED_APPS"] = apps
    for name in HOSTS.values():
        site.in_tenant(name, "import pgtrigger; pgtrigger.install()")
        site.in_tenant(name, "Message.objects.create(room_id=1, text='first')")
    server = daphne(site)

    async with (
        page(server, "acme.localhost", sign(f"acme/{LOBBY}")) as ours,
        page(server, "globex.localhost", sign(f"globex/{LOBBY}")) as theirs,
    ):
        site.in_tenant("globex", RAW)
        await theirs.until(lambda: bool(theirs.data))
        site.in_tenant("acme", "Message.objects.create(room_id=1, text='saved')")
        site.in_tenant("acme", RAW.replace("globex", "acme"))
        await ours.until(lambda: len(ours.data) >= 3)

    assert ["raw in globex" in data for data in theirs.data] == [True]
    texts = [re.findall("raw in acme|saved", data) for data in ours.data]
    assert sorted(texts) == [["raw in acme"], ["raw in acme"], ["saved"]]
