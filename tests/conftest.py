"""
Fixtures that every test may use.

Servers live as long as pytest's process, or worker; what a test leaves in them is
cleared before the next one. Browser tests are coroutines and share one event loop.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import channels_redis.serializers
import hypothesis
import pytest
import pytest_asyncio
import redis.backoff
from channels.layers import channel_layers
from django.conf import settings
from django.core import signing
from django.db import connections
from django.test import override_settings
from playwright.async_api import Browser, Page, async_playwright, expect
from pytest_django import DjangoDbBlocker

import hatch_build
from tests.settings import sqlite_database
from tests.support.browsers import FLAGS, find_chromium, find_window
from tests.support.databases import an_alias, empty, make_tables
from tests.support.servers import (
    DATABASES,
    PATIENCE,
    Daphne,
    NoPostgres,
    Postgres,
    Project,
    Uvicorn,
    Valkey,
    WebServer,
    channel_layer,
)
from turbo.delivery.broadcast import shut_down
from turbo.delivery.recorders import recording
from turbo.replay.selection import forget_replay
from turbo.runtime.context import set_since
from turbo.runtime.failures import failures

# Hundreds of processes are started: none compiles what another has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine may take any time to make an example, and to try it.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")

pytest_plugins = ["tests.support.declaring", "turbo.testing.pytest"]

_NO_BROWSER = (
    "no Chromium: install the package 'chromium' of your system, "
    "or set TURBO_CHROMIUM to the program"
)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _build_client()
    settings.SCRATCH.mkdir(exist_ok=True)
    expect.set_options(timeout=1_000 * PATIENCE)


def _build_client() -> None:
    """Pages of the tests get the minified modules: let them fit what was edited."""
    with suppress(RuntimeError):  # test_build_hook.py reports it
        hatch_build.build(Path(hatch_build.__file__).parent)


def pytest_unconfigure() -> None:
    shutil.rmtree(settings.SCRATCH, ignore_errors=True)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text by its argument: a signed one differs in every worker."""
    return argname if isinstance(val, str) and len(val) > 40 else None


#: Fixtures that start what takes a second or more.
_PROCESSES = {
    "chromium",
    "daphne",
    "distributions",
    "firefox",
    "make_project",
    "postgres",
    "uvicorn",
    "windowed_chromium",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests in the browser's loop, and mark what starts servers."""
    for item in items:
        if not _PROCESSES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("processes")
        function = getattr(item, "function", None)
        if item.get_closest_marker("browser") and inspect.iscoroutinefunction(function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say once how to get what the skipped tests lack."""
    skipped = terminalreporter.stats.get("skipped", [])
    number = sum(_NO_BROWSER in str(report.longrepr) for report in skipped)
    if number:
        terminalreporter.write_line(f"{number} tests skipped: {_NO_BROWSER}.")


@pytest.fixture(scope="session", autouse=True)
def _own_numbers() -> Iterator[None]:
    """
    Let libraries draw random numbers that are not Python's own.

    What another thread sends through a layer, while Hypothesis draws an example, would
    look like a strategy that uses the ``random`` module.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (channels_redis.serializers, redis.backoff):
            patch.setattr(module, "random", Random())
        yield


@pytest.fixture(autouse=True)
def _fresh_context() -> None:
    """Begin as if no request had been answered in this thread."""
    set_since("")


@pytest.fixture(autouse=True)
def _same_settings() -> Iterator[None]:
    """Let a test that leaves other settings fail, and not those after it."""
    before = dict(vars(settings._wrapped))
    yield
    assert vars(settings._wrapped) == before


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, but for what asyncio says of the tasks of earlier tests."""
    caplog.handler.addFilter(_is_of_this_test)
    yield caplog
    caplog.handler.removeFilter(_is_of_this_test)


def _is_of_this_test(record: logging.LogRecord) -> bool:
    """A task is said to be left when its garbage is collected, at any time."""
    left = ("was never retrieved", "was destroyed but it is pending")
    return record.name != "asyncio" or not any(x in record.getMessage() for x in left)


@pytest.fixture(autouse=True)
def _fresh_log_of_failures() -> None:
    """Let each test see its failures, though the one before had the same."""
    failures.clear()


@pytest.fixture(autouse=True)
def _fresh_channel_layers() -> Iterator[None]:
    """Forget the channel layers of this test: they are bound to its event loop."""
    yield
    shut_down()
    forget_replay()
    channel_layers.backends.clear()


@pytest.fixture
def sent() -> Iterator[list[tuple[str, str]]]:
    """What is broadcast, as names and elements; it goes no further."""
    broadcasts: list[tuple[str, str]] = []

    def keep(name: str, data: str) -> bool:
        broadcasts.append((name, data))
        return False

    with recording(keep):
        yield broadcasts


@pytest.fixture
def stamp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let names be signed, and pages be born, at one moment."""
    clock = SimpleNamespace(time=lambda: 1_700_000_000.0)
    monkeypatch.setattr(signing, "time", clock)
    set_since("@7")
    yield
    set_since("")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def valkey(valkey_server: Valkey) -> Iterator[Valkey]:
    """An empty, running Valkey; the test may pause it, kill it and start it."""
    valkey_server.flush()
    yield valkey_server
    if not valkey_server.running:
        valkey_server.start()
    valkey_server.resume()


@pytest.fixture(params=["memory", "redis", "pubsub"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of channel layer, with the replay log that goes with it."""
    kind = request.param
    url = "" if kind == "memory" else request.getfixturevalue("valkey").url
    with override_settings(CHANNEL_LAYERS={"default": channel_layer(kind, url)}):
        yield kind
        shut_down()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except NoPostgres as reason:
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def _sqlite_file(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> dict[str, Any]:
    settings = sqlite_database(tmp_path_factory.mktemp("sqlite") / "tables.sqlite3")
    with django_db_blocker.unblock():
        make_tables("sqlite", settings)
    return settings


@pytest.fixture(scope="session")
def _postgres_database(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> dict[str, Any]:
    settings = postgres.create("tables")
    with django_db_blocker.unblock():
        make_tables("postgres", settings)
    return settings


@pytest.fixture
def sqlite_tables(
    _sqlite_file: dict[str, Any], django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Empty tables in the database ``sqlite``, a file."""
    with django_db_blocker.unblock(), an_alias("sqlite", _sqlite_file):
        empty("sqlite")
        yield


@pytest.fixture
def postgres_tables(
    _postgres_database: dict[str, Any], django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Empty tables in the database ``postgres``."""
    with django_db_blocker.unblock(), an_alias("postgres", _postgres_database):
        empty("postgres")
        yield


def _sqlite(directory: Path) -> dict[str, Any]:
    return {
        alias: sqlite_database(directory / f"{alias}.sqlite3")
        for alias in ("default", "other")
    }


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    project = Project(directory, {"DATABASES": _sqlite(directory)})
    project.migrate()
    project.manage("seed")
    return directory


@pytest.fixture(scope="session")
def _postgres_template(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> str:
    project = Project(
        tmp_path_factory.mktemp("template"),
        {"DATABASES": {"default": postgres.create("template")}},
    )
    project.migrate()
    project.manage("seed")
    return "template"


_numbers = count(1)


@pytest.fixture
def make_project(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[..., Project]:
    """
    Make a project: ``make_project("redis", database="postgres", TURBO={…})``.

    The first argument is the kind of channel layer (``memory``, ``redis``, ``pubsub``,
    or a database, which is then ``TURBO["DATABASE"]``); ``redis`` is the URL that it
    uses, by default the one of the ``valkey`` fixture.
    Upper-case keywords are settings. The users ann, bob and eve are there, and two
    rooms: the Lobby, and the Cellar for ann and bob.
    """

    def make(
        layer: str = "memory",
        *,
        database: str = "sqlite",
        redis: str | None = None,
        **settings: Any,
    ) -> Project:
        directory = tmp_path / f"project-{next(_numbers)}"
        directory.mkdir()
        databases = _databases(request, database, directory)
        if layer in DATABASES:
            request.getfixturevalue(f"{layer}_tables")
            databases[layer] = connections.settings[layer]
            settings["TURBO"] = {"DATABASE": layer} | settings.get("TURBO", {})
        elif layer != "memory" and redis is None:
            redis = request.getfixturevalue("valkey").url
        layers = {"default": channel_layer(layer, redis or "")}
        defaults = {"DATABASES": databases, "CHANNEL_LAYERS": layers}
        return Project(directory, defaults | settings)

    return make


def _databases(
    request: pytest.FixtureRequest, kind: str, directory: Path
) -> dict[str, Any]:
    if kind == "postgres":
        postgres = request.getfixturevalue("postgres")
        template = request.getfixturevalue("_postgres_template")
        name = f"{directory.name}-{os.getpid()}"
        return {"default": postgres.create(name, template=template)}
    shutil.copytree(
        request.getfixturevalue("_sqlite_template"), directory, dirs_exist_ok=True
    )
    return _sqlite(directory)


def _starter(server_class: type[Any]) -> Iterator[Callable[..., Any]]:
    servers: list[WebServer] = []

    def start(project: Project, *arguments: str, **options: Any) -> WebServer:
        server: WebServer = server_class(project, *arguments, **options)
        servers.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.kill()  # the tests of its end stop it, and this takes less time


@pytest.fixture
def daphne() -> Iterator[Callable[..., Daphne]]:
    """Start Daphne: ``server = daphne(project)``."""
    yield from _starter(Daphne)


@pytest.fixture
def uvicorn() -> Iterator[Callable[..., Uvicorn]]:
    """Start uvicorn: ``server = uvicorn(project)``."""
    yield from _starter(Uvicorn)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium of this machine; without one the test is skipped."""
    return _required(find_chromium())


@pytest.fixture(scope="session")
def windowed_chromium() -> str:
    """The same, but not the one that can only run without a window."""
    return _required(find_window())


def _required(found: str | None) -> str:
    if found is None:
        required = os.environ.get("TURBO_REQUIRE_BROWSER") == "1"
        (pytest.fail if required else pytest.skip)(_NO_BROWSER)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(browser: Browser) -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Open pages of different visitors; an uncaught JavaScript error fails the test."""
    contexts = []
    errors: list[Any] = []

    def note(error: Any) -> None:
        # Turbo lets this one through if a visit is left while its answer is read.
        if error.name != "AbortError":
            errors.append(error)

    async def open_page(**options: Any) -> Page:
        context = await browser.new_context(**options)
        context.set_default_timeout(1_000 * PATIENCE)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", note)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(new_page: Callable[[], Awaitable[Page]]) -> Page:
    """A page of a visitor who has no cookies yet."""
    return await new_page()
