"""Tests of the servers and programs that other tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.node import node_modules
from tests.support.servers import Postgres


def test_postgres_has_its_lock_in_a_folder_of_its_own(postgres: Postgres) -> None:
    """In the shared folder, it could not open the file of another user."""
    lock = Path(os.fsdecode(postgres._server._lock.path))

    assert lock.stat().st_uid == os.geteuid()
    assert lock.parent == Path(postgres.settings("postgres")["HOST"]).parent


def test_an_npm_registry_that_is_not_reached_skips_the_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TURBO_NODE_CACHE", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1/")

    with pytest.raises(pytest.skip.Exception, match="does not reach its registry"):
        node_modules("dcrf-client@1.1.0")
