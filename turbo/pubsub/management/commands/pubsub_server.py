"""``manage.py pubsub_server``: serve model changes over WebSockets, with Daphne."""

from __future__ import annotations

import importlib
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from turbo.exceptions import ConfigurationError
from turbo.pubsub.asgi import get_application
from turbo.pubsub.conf import PubSubSettings, get_pubsub_settings, redis_host
from turbo.server.daphne import with_transport

#: Seconds within which a client must answer a ping.
PING_TIMEOUT = 30
#: Daphne's value for no timeout.
NO_TIMEOUT = -1


class Command(BaseCommand):
    """Serve the clients of pub/sub."""

    help = "Send the changes of listenable models to WebSocket clients."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the address to listen on."""
        parser.add_argument("port", nargs="?", type=int, help="The port to listen on.")
        parser.add_argument("--host", help="The address to listen on.")
        parser.add_argument(
            "-p", "--port", dest="port_option", type=int, help="The port to listen on."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until the process is told to end."""
        try:
            settings = get_pubsub_settings()
            if redis_host() is None:
                raise ConfigurationError(
                    "No Redis is configured to receive changes. Use a channel layer of "
                    "channels_redis, or set TURBO['PUBSUB']['REDIS_HOSTS']."
                )
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        host = options["host"] or settings.host
        port = options["port_option"] or options["port"] or settings.port
        self.stdout.write(f"Serving model changes at ws://{_shown(host)}:{port}/")
        if not _serve(host, port, settings):
            raise CommandError(f"Cannot listen on {_shown(host)}:{port}.")


def _serve(host: str, port: int, settings: PubSubSettings) -> bool:
    """Serve until the process is told to end; return whether it could listen."""
    # The import creates an event loop and installs Twisted's reactor.
    server_class = importlib.import_module("daphne.server").Server
    endpoints = importlib.import_module("daphne.endpoints")
    server = with_transport(server_class)(
        get_application(),
        endpoints=endpoints.build_endpoint_description_strings(host=host, port=port),
        ping_interval=settings.ping_interval or float("inf"),
        ping_timeout=PING_TIMEOUT,
        websocket_timeout=NO_TIMEOUT,
        server_name="turbo-pubsub",
    )
    server.run()
    return not server.abort_start


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
