"""The settings of the how-to without Redis, taken from the page, run two servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support.clients import LivePage
from tests.support.documents import DOCS, blocks
from tests.support.servers import PATIENCE, Daphne, Postgres, Project
from tests.testapp.streams import RoomStream

PAGE = DOCS / "howto/without-redis.rst"
CHECK = "from turbo.database.checks import *; print(check_database())"


def settings(engine: str, directory: Path) -> dict[str, Any]:
    """Return the settings of the page for one kind of database."""
    [code] = [b.code for b in blocks(PAGE, "python") if f"backends.{engine}" in b.code]
    names: dict[str, Any] = {"BASE_DIR": directory}
    exec(code, names)
    assert "turbo.database" in names["INSTALLED_APPS"]
    given = {
        name: names[name]
        for name in ("DATABASES", "DATABASE_ROUTERS", "TURBO", "CHANNEL_LAYERS")
        if name in names
    }
    plain: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return plain


async def shows_what_another_process_saves(
    project: Project, daphne: Callable[..., Daphne]
) -> None:
    project.migrate()
    project.manage("seed")
    warnings = project.shell(CHECK)
    one, two = daphne(project), daphne(project)

    async with (
        LivePage(one.ws_url, RoomStream(1).signed_stream_name) as page,
        httpx.AsyncClient(base_url=two.url, timeout=PATIENCE) as http,
    ):
        await http.get("/rooms/1/say/", params={"text": "from the other"})
        await page.until(lambda: bool(page.data))

    assert "from the other" in page.data[0]
    assert warnings == "[]"


async def test_two_processes_with_sqlite(
    tmp_path: Path, daphne: Callable[..., Daphne]
) -> None:
    project = Project(tmp_path, settings("sqlite3", tmp_path))

    await shows_what_another_process_saves(project, daphne)

    assert (tmp_path / "turbo.sqlite3").exists()


async def test_two_processes_with_postgresql(
    tmp_path: Path, daphne: Callable[..., Daphne], postgres: Postgres
) -> None:
    given = settings("postgresql", tmp_path)
    given["DATABASES"]["default"] |= postgres.create("without-redis")

    await shows_what_another_process_saves(Project(tmp_path, given), daphne)
