"""The Django app, which connects signals and checks when the project starts."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.signals import user_logged_out
from django.core.checks import register
from django.core.signals import request_started

from turbo.changes import ModelChange, watch
from turbo.checks.declarations import check_declarations
from turbo.checks.peers import check_peers
from turbo.checks.setup import check_reach, check_setup
from turbo.checks.streams import check_permissions, check_streams
from turbo.connections.revocation import recheck, revoke, revoke_session
from turbo.connections.transports import finders
from turbo.http.page_start import note_since
from turbo.server.daphne import install as install_in_daphne
from turbo.server.uvicorn_transport import find as find_in_uvicorn
from turbo.streams.registry import autodiscover

__all__ = ["TurboConfig"]


class TurboConfig(AppConfig):
    """Discovers the streams, and connects checks and receivers of signals."""

    name = "turbo"
    verbose_name = "Turbo Streams"

    def ready(self) -> None:
        """Connect everything."""
        register(check_setup)
        register(check_streams)
        register(check_peers)
        register(check_declarations)
        register(check_permissions, deploy=True)
        register(check_reach, deploy=True)
        request_started.connect(note_since, dispatch_uid="turbo.since")
        if apps.is_installed("django.contrib.auth"):
            user_logged_out.connect(_logged_out, dispatch_uid="turbo.logout")
            watch(_user_model(), _user_changed)
        install_in_daphne()
        if find_in_uvicorn not in finders:
            finders.append(find_in_uvicorn)
        autodiscover()


def _user_model() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model()


def _logged_out(*, request: Any, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    revoke_session(getattr(session, "session_key", None))


def _user_changed(change: ModelChange) -> None:
    if change.action == "delete":
        revoke(user=change.instance)
    elif change.action == "update" and change.update_fields != frozenset(
        {"last_login"}
    ):
        recheck(change.instance)
