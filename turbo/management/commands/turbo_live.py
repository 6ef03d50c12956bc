"""``manage.py turbo_live``: serve the sockets and event streams of a site on WSGI."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from turbo.conf import layer_config
from turbo.exceptions import ConfigurationError
from turbo.server.live import LiveApplication, project_application
from turbo.server.running import SERVERS, Address, best_server, listening

__all__ = ["Command"]


class Command(BaseCommand):
    """Serve WebSockets and event streams, and no pages."""

    help = "Serve WebSockets and event streams, so that the site can stay on WSGI."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the server, and the address to listen on."""
        parser.add_argument(
            "--server",
            choices=sorted(SERVERS),
            help="The server; by default uvicorn if it is installed, or Daphne.",
        )
        parser.add_argument(
            "-b", "--bind", default="127.0.0.1", help="The address to listen on."
        )
        parser.add_argument(
            "-p", "--port", type=int, default=8001, help="The port to listen on."
        )
        parser.add_argument(
            "-u", "--uds", help="A Unix socket to listen on, in place of a port."
        )
        parser.add_argument(
            "--fd", type=int, help="An open socket to listen on, as systemd passes it."
        )
        parser.add_argument(
            "--reuse-port",
            action="store_true",
            help="Let several processes listen on the port.",
        )
        parser.add_argument(
            "--proxy-headers",
            action="store_true",
            help="Trust X-Forwarded-For and -Proto, which the proxy must set.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until the process is told to end."""
        names = ("bind", "port", "uds", "fd", "reuse_port")
        address = Address(**{name: options[name] for name in names})
        server = options["server"] or best_server()
        try:
            _check_layer()
            application = LiveApplication(project_application())
            with listening(address) as listener, suppress(KeyboardInterrupt):
                self.stdout.write(
                    f"Serving WebSockets and event streams at {address} with {server}."
                )
                self.stdout.flush()
                SERVERS[server](
                    application, listener, proxy_headers=options["proxy_headers"]
                )
        except ConfigurationError as error:
            raise CommandError(str(error)) from error


def _check_layer() -> None:
    if str(layer_config().get("BACKEND", "")).endswith("InMemoryChannelLayer"):
        raise ConfigurationError(
            "InMemoryChannelLayer does not reach other processes, so nothing that the "
            "site saves would arrive here. Use channels_redis.core.RedisChannelLayer, "
            "or without Redis turbo.database.layer.DatabaseLayer."
        )
