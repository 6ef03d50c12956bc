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
from tests.support.full import for_full_runs
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

    #: Where the context manager is that enters a tenant, and who is no tenant.
    enter = "from config.schemas import tenant"
    nobody = ""

    @property
    def env(self) -> dict[str, str]:
        places = [str(self.directory), os.environ.get("PYTHONPATH", "")]
        return super().env | {"PYTHONPATH": os.pathsep.join(filter(None, places))}

    def code(self, name: str, code: str) -> str:
        """Return code that enters a tenant first."""
        enter = f"{self.enter}\nscope = tenant({name or self.nobody!r})"
        return f"{enter}\nscope.__enter__()\n{IMPORTS}\n{code}"

    def in_tenant(self, name: str, code: str) -> str:
        """Run code in a tenant, in a process of its own."""
        return self.shell(self.code(name, code))

    def spawn(self, name: str, code: str) -> int:
        """Run code in a process that may be killed; return how it ended."""
        code = f"import django\ndjango.setup()\n{self.code(name, code)}"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=self.env, timeout=PATIENCE
        )
        return done.returncode

    def make_tables(self) -> None:
        """Make the tables of the tenants, and those that they share."""
        self.migrate()
        self.manage("migrate_tenants", "--run-syncdb", "-v", "0")


class DjangoTenantsSite(Site):
    enter = "from django_tenants.utils import schema_context as tenant"
    nobody = "public"

    def make_tables(self) -> None:
        self.manage("migrate_schemas", "--shared", "--run-syncdb", "-v", "0")
        self.shell(CUSTOMERS.format(HOSTS))
        self.manage("migrate_schemas", "--tenant", "--run-syncdb", "-v", "0")


IMPORTS = """
import turbo
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from tests.testapp.models import Message, Room
"""

#: The models that a project with django-tenants declares.
MODELS = """
from django_tenants.models import DomainMixin, TenantMixin

class Client(TenantMixin):
    auto_create_schema = False

class Domain(DomainMixin):
    pass
"""

CUSTOMERS = """
from customers.models import Client, Domain
from django.db import connection
for host, name in {}.items():
    client = Client.objects.create(schema_name=name)
    Domain.objects.create(domain=host, tenant=client, is_primary=True)
    connection.cursor().execute(f"CREATE SCHEMA {{name}}")
"""


def write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text(code)


def files(directory: Path, module: str) -> dict[str, Any]:
    """Write the files of the page, and return the settings that it shows."""
    values: dict[str, Any] = {}
    for block in blocks(PAGE, "python"):
        if block.caption == "config/settings.py" and module in block.code:
            exec(block.code, values)
        elif block.caption.endswith(".py") and "settings" not in block.caption:
            write(directory / block.caption, block.code)
    for place in ("chat", "chat/management"):
        (directory / place / "__init__.py").touch()
    return values


def plain_settings(directory: Path) -> dict[str, Any]:
    values = files(directory, "config.schemas")
    return {
        "TURBO": values["TURBO"],
        "DATABASE_ROUTERS": values["DATABASE_ROUTERS"],
        "MIDDLEWARE": values["MIDDLEWARE"],
        "TENANTS": HOSTS,
        "INSTALLED_APPS": [*settings.INSTALLED_APPS, "chat"],
    }


SHARED = ["django_tenants", "customers", "turbo", "turbo.database"]
#: Both packages have a command migrate, and Django refuses that of one with
#: makemigrations of the other.
APART = ["pgtrigger"]


def package_settings(directory: Path) -> dict[str, Any]:
    values = files(directory, "schema_context")
    write(directory / "customers/models.py", MODELS)
    tenant_apps = [app for app in settings.INSTALLED_APPS if app not in SHARED + APART]
    return {
        "TURBO": values["TURBO"],
        "MIDDLEWARE": values["MIDDLEWARE"],
        "DATABASE_ROUTERS": ["django_tenants.routers.TenantSyncRouter"],
        "TENANT_MODEL": "customers.Client",
        "TENANT_DOMAIN_MODEL": "customers.Domain",
        "SHARED_APPS": SHARED,
        "TENANT_APPS": tenant_apps,
        "INSTALLED_APPS": [*SHARED, *tenant_apps],
    }


def make_site(kind: str, directory: Path, database: dict[str, Any]) -> Site:
    make = plain_settings if kind == "schemas" else package_settings
    site = (Site if kind == "schemas" else DjangoTenantsSite)(
        directory, make(directory)
    )
    if kind != "schemas":
        database = database | {"ENGINE": "django_tenants.postgresql_backend"}
    site.settings["TURBO"] |= {"RECHECK_INTERVAL": 3_600}
    site.settings["MIDDLEWARE"] += settings.MIDDLEWARE
    site.settings |= {
        "ALLOWED_HOSTS": [".localhost"],
        "CHANNEL_LAYERS": {"default": channel_layer("postgres")},
        "DATABASES": {"default": database},
    }
    return site


SEED = "from django.core.management import call_command; call_command('seed')"


@pytest.fixture(
    scope="module",
    params=["schemas", pytest.param("django-tenants", marks=for_full_runs)],
)
def kind(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Postgres,
) -> str:
    """A database with two tenants, each with what every live server starts with."""
    kind: str = request.param
    if kind == "django-tenants":
        pytest.importorskip("django_tenants")
    site = make_site(kind, tmp_path_factory.mktemp("tenants"), postgres.create(kind))
    site.make_tables()
    for name in HOSTS.values():
        site.in_tenant(name, SEED)
    return kind


@pytest.fixture
def site(kind: str, tmp_path: Path, postgres: Postgres) -> Site:
    """The site with a copy of that database."""
    database = postgres.create(f"{kind}-{tmp_path.name}", template=kind)
    return make_site(kind, tmp_path, database)


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


async def test_an_asynchronous_view_and_an_event_stream_have_the_tenant(
    site: Site, daphne: Callable[..., Daphne]
) -> None:
    server = daphne(site)
    name = sign(f"acme/{LOBBY}")
    host = {"host": "acme.localhost"}

    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, headers=host) as http,
        http.stream("GET", "/turbo/sse/", params={"stream": name}) as events,
        page(server, "globex.localhost", sign(f"globex/{LOBBY}")) as theirs,
    ):
        assert events.status_code == 200
        await http.get("/rooms/1/say/", params={"text": "for acme"})
        async for line in events.aiter_lines():
            if "for acme" in line:
                break
        site.in_tenant("globex", "Message.objects.create(room_id=1, text='for globex')")
        await theirs.until(lambda: bool(theirs.data))

    assert ["for globex" in data for data in theirs.data] == [True]


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


KILLED = """
import os, signal
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
        assert site.spawn("globex", KILLED) == -signal.SIGKILL
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
    if isinstance(site, DjangoTenantsSite):
        pytest.skip("django-pgtrigger and django-tenants exclude each other")
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
