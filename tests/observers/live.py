"""The live site, and programs that run under Node against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websockets.sync.client
from django.conf import settings

from tests.support.node import node_path, node_program
from tests.support.servers import PATIENCE, Project, WebServer

APPLICATION = "tests.observers.asgi:application"
APPS = [
    *(app for app in settings.INSTALLED_APPS if app.startswith(("django.", "turbo"))),
    "tests.testapp",
    "tests.observers.documented",
]
#: The client is a module by its content; Node would rather have it said.
OPTIONS = ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON"]
SCRIPTS = Path(__file__).resolve().parent / "node"


def live_settings(**changes: Any) -> dict[str, Any]:
    """Return the settings of a project whose processes discover the consumers."""
    return {"INSTALLED_APPS": APPS, **changes}


class Socket:
    """A blocking WebSocket to a live server."""

    def __init__(self, connection: Any) -> None:
        self._socket = connection

    def ask(self, **message: Any) -> Any:
        self._socket.send(json.dumps(message))
        return self.next()

    def next(self, timeout: float = PATIENCE) -> Any:
        return json.loads(self._socket.recv(timeout=timeout))


@contextmanager
def socket(server: WebServer, path: str = "/ws/") -> Iterator[Socket]:
    url = server.ws_url + path
    with websockets.sync.client.connect(url, open_timeout=PATIENCE) as connection:
        yield Socket(connection)


class Script:
    """
    A program under Node that is driven line by line.

    It prints a JSON value for each thing that happens, and is told lines of JSON.
    """

    def __init__(self, name: str, *arguments: str, modules: Path | None = None) -> None:
        env = {**os.environ, "PATH": node_path()}
        if modules is not None:
            env["NODE_PATH"] = str(modules)
        self._popen = subprocess.Popen(
            [node_program("node"), *OPTIONS, str(SCRIPTS / name), *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Python's node starts the real one
        )

    def tell(self, value: Any) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(value) + "\n")
        self._popen.stdin.flush()

    def heard(self) -> Any:
        """Return the next value that it prints."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"The script ended with {self._popen.wait(PATIENCE)}.")
        return json.loads(line)

    def end(self) -> None:
        os.killpg(self._popen.pid, signal.SIGTERM)
        self._popen.wait(PATIENCE)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self._popen.stdout.close()


MakeProject = Callable[..., Project]
