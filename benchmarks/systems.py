"""The systems to compare: how to start them, and how to make them broadcast."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import (
    ROOT,
    npm_packages,
    program,
    python_environment,
)
from benchmarks.processes import Server, free_port
from benchmarks.sockets import Handshake

__all__ = [
    "SYSTEMS",
    "Running",
    "Skipped",
    "System",
    "django_site",
    "page_of",
    "run_in_site",
    "start_nchan",
    "start_site",
    "subscribe",
]

SITES = Path(__file__).resolve().parent / "sites"
TURBO_DJANGO = ("turbo-django==0.4.4", "daphne", "channels-redis", "uvicorn[standard]")
#: One message without an envelope: 340 bytes.
MESSAGE = (
    '<turbo-stream action="append" target="messages"><template>'
    f'<li id="message-1234567" class="message">{"lorem ipsum dolor " * 20}'
)[:308] + "</li></template></turbo-stream>"


class Skipped(Exception):
    """A system cannot run on this machine."""


@dataclass(slots=True)
class Running:
    """A running system."""

    server: Server
    handshake: Handshake
    #: Path whose POST broadcasts ``{}`` messages, or ``None`` for nchan's publisher.
    publish: str | None = "/publish/{}"

    @property
    def port(self) -> int:
        return self.server.port


@dataclass(frozen=True, slots=True)
class System:
    """A row of the table."""

    name: str
    #: The layer of the rows to compare with: ``redis``, ``pubsub``, ``memory`` or none.
    layer: str
    start: Callable[[Path, str], Running]
    #: Whether the clients offer to compress, as browsers do.
    compression: bool = False

    def __str__(self) -> str:
        return f"{self.name}, compression offered" if self.compression else self.name


def _django(
    site: str, layer: str, command: list[str]
) -> Callable[[Path, str], Running]:
    def start(directory: Path, redis: str) -> Running:
        python, env = django_site(site, layer, directory, redis)
        page = page_of(python, env)
        return start_site(site, directory, python, env, page, command)

    return start


def start_site(
    site: str,
    directory: Path,
    python: Path,
    env: dict[str, str],
    page: dict[str, Any],
    command: list[str] | None = None,
) -> Running:
    """Start a process of one of the Django sites, by default on uvicorn."""
    port, command = free_port(), command or _COMMANDS["uvicorn"]
    arguments = [part.format(port=port) for part in command]
    server = Server(
        [str(python), "-m", *arguments, "site_asgi:application"],
        port=port,
        directory=directory,
        env=env,
    )
    return Running(server, _handshake(site, page))


def page_of(python: Path, env: dict[str, str]) -> dict[str, Any]:
    """Fill a site's database; return the data of its pages."""
    page: dict[str, Any] = json.loads(run_in_site("prepare.py", python, env))
    return page


def django_site(
    site: str, layer: str, directory: Path, redis: str, root: Path = ROOT
) -> tuple[Path, dict[str, str]]:
    """
    Return the Python and the environment variables of one of the Django sites.

    ``root`` is the checkout of the library.
    """
    ours = site == "ours"
    path = [str(SITES / "django"), str(SITES / site), *([str(root)] if ours else [])]
    python = Path(sys.executable)
    if not ours:
        python = python_environment("turbo-django", *TURBO_DJANGO)
    return python, {
        "BENCH_DIRECTORY": str(directory),
        "BENCH_LAYER": layer,
        "BENCH_REDIS": redis,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_in_site(script: str, python: Path, env: dict[str, str], *arguments: str) -> str:
    """Run a script of a site; return its output."""
    command = [str(python), str(SITES / "django" / script), *arguments]
    return subprocess.run(
        command, env={**os.environ, **env}, check=True, capture_output=True, text=True
    ).stdout


def _handshake(site: str, page: dict[str, Any]) -> Handshake:
    [name, *_] = page["signed"]
    cookie = f"Cookie: sessionid={page['session']}"
    if site == "ours":
        frame = subscribe(name)
        confirmation = '"subscribed"'
    else:
        frame = json.dumps({"type": "subscribe", "signed_channel_name": name})
        confirmation = ""
    return Handshake(path="/ws/", headers=(cookie,), frames=((frame, confirmation),))


def subscribe(signed: str) -> str:
    """Return the frame by which a page of ours subscribes to a stream."""
    streams = [{"name": signed, "since": ""}]
    return json.dumps({"type": "subscribe", "streams": streams})


def _node(script: str, handshake: Handshake, *packages: str) -> Callable[..., Running]:
    def start(directory: Path, redis: str) -> Running:
        node = program("node")
        if node is None:
            raise Skipped("no node")
        modules = npm_packages("node", *packages)
        port = free_port()
        server = Server(
            [node, str(SITES / "node" / script)],
            port=port,
            directory=directory,
            env={
                "BENCH_PORT": str(port),
                "BENCH_MESSAGE": MESSAGE,
                "NODE_PATH": str(modules),
                "NODE_ENV": "production",
            },
        )
        return Running(server, handshake)

    return start


def start_nchan(directory: Path, redis: str) -> Running:
    nginx = program("nginx")
    module = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
    if nginx is None or not module.is_file():
        raise Skipped("no nginx with nchan (Debian: libnginx-mod-nchan)")
    port = free_port()
    text = (SITES / "nginx.conf").read_text().format(port=port, module=module)
    (directory / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    server = Server(command, port=port, directory=directory)
    return Running(server, Handshake(path="/sub"), publish=None)


def _cable(directory: Path, redis: str) -> Running:
    puma = program("puma")
    if puma is None or not _has_action_cable():
        raise Skipped("no Action Cable (Debian: ruby-actioncable, puma)")
    port = free_port()
    shutil.copy(SITES / "cable" / "config.ru", directory)
    server = Server(
        [puma, "-e", "production", "-b", f"tcp://127.0.0.1:{port}", "config.ru"],
        port=port,
        directory=directory,
        env={"BENCH_MESSAGE": MESSAGE, "RACK_ENV": "production"},
    )
    identifier = json.dumps({"channel": "RoomChannel"})
    handshake = Handshake(
        path="/cable",
        headers=("Sec-WebSocket-Protocol: actioncable-v1-json",),
        frames=(
            (
                json.dumps({"command": "subscribe", "identifier": identifier}),
                "confirm_subscription",
            ),
        ),
    )
    return Running(server, handshake)


def _has_action_cable() -> bool:
    ruby = program("ruby")
    return (
        bool(ruby)
        and not subprocess.run(
            [str(ruby), "-e", "require 'action_cable'"], capture_output=True
        ).returncode
    )


_UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning", "--no-access-log"]
# Between two phases, the publisher is silent for longer than the default allows.
_UVICORN += ["--timeout-keep-alive", "120"]
_COMMANDS = {
    "uvicorn": _UVICORN,
    "Daphne": ["daphne", "-p", "{port}", "-v", "0"],
    "Hypercorn": [
        *("hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning"),
        *("--worker-class", "uvloop", "--keep-alive", "120"),
    ],
    "Granian": [
        "granian",
        "--interface",
        "asgi",
        "--port",
        "{port}",
        "--no-access-log",
    ],
}
_SOCKETIO = Handshake(
    path="/socket.io/?EIO=4&transport=websocket",
    frames=(("40", "40{"), ('42["subscribe"]', '42["subscribed"]')),
    answers=((b"2", "3"),),
)
_WS = Handshake(path="/", frames=(("{}", "subscribed"),))
_LAYERS = ("memory", "pubsub", "redis")


def _ours(server: str, layer: str = "memory", *, compression: bool = False) -> System:
    start = _django("ours", layer, _COMMANDS[server])
    return System(f"turbo on {server}", layer, start, compression)


def _turbo_django(server: str, layer: str) -> System:
    start = _django("turbo_django", layer, _COMMANDS[server])
    return System(f"turbo-django on {server}", layer, start)


SYSTEMS: tuple[System, ...] = (
    System("nginx + nchan", "", start_nchan),
    System("nginx + nchan", "", start_nchan, compression=True),
    System("Node ws", "", _node("ws.cjs", _WS, "ws", "socket.io")),
    System("socket.io", "", _node("socketio.cjs", _SOCKETIO, "ws", "socket.io")),
    System("Action Cable", "", _cable),
    *(_ours("uvicorn", layer) for layer in _LAYERS),
    _ours("uvicorn", compression=True),
    *(_ours("Daphne", layer) for layer in _LAYERS),
    _ours("Daphne", compression=True),
    _ours("Hypercorn"),
    _ours("Granian"),
    *(
        _turbo_django(name, layer)
        for name in ("uvicorn", "Daphne")
        for layer in _LAYERS
    ),
)
