"""What the app connects when all models have been loaded."""

from __future__ import annotations

from importlib import import_module

from django.core.checks import register

from turbo.changes import durability
from turbo.changes.captured import when_captured
from turbo.changes.transaction import write_before_commit
from turbo.checks.finding import examiners
from turbo.database.captured import relay as captured
from turbo.database.captured.checks import (
    TRIGGERS,
    check_capture,
    examine_capture,
    has_pgtrigger,
)
from turbo.database.checks import check_database
from turbo.database.outbox import relay
from turbo.database.outbox.checks import check_outbox, examine_outbox
from turbo.database.outbox.writing import write
from turbo.runtime.beginnings import when_begun

__all__ = ["connect"]


def connect() -> None:
    """Let transactions be written into the outbox, and tell what others left there."""
    register(check_database)
    register(check_outbox)
    register(check_capture)
    for examine in (examine_outbox, examine_capture):
        if examine not in examiners:
            examiners.append(examine)
    durability.install()
    write_before_commit(write)
    when_begun(relay.start)
    if has_pgtrigger():
        when_captured(import_module(TRIGGERS).register)
    when_begun(captured.start)
