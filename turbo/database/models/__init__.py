"""The tables of the app; they are written with SQL of one transaction each."""

from __future__ import annotations

from django.apps import apps

from turbo.exceptions import ConfigurationError

if not apps.is_installed("turbo.database"):
    raise ConfigurationError(
        'Add "turbo.database" to INSTALLED_APPS: what is named in TURBO or '
        "CHANNEL_LAYERS is a part of this app, and has tables."
    )

from turbo.database.models.captured import CapturedStatement
from turbo.database.models.layer import LayerMessage, LayerTip
from turbo.database.models.leases import LeaseMember, LeaseWatch
from turbo.database.models.log import LogBatch, LogKey, LogMessage, LogStream, LogWord
from turbo.database.models.outbox import OutboxEntry
from turbo.database.models.store import StoreChange, StoreRow, StoreSlot
from turbo.database.models.texts import LogText

__all__ = [
    "ALL",
    "CapturedStatement",
    "LayerMessage",
    "LayerTip",
    "LeaseMember",
    "LeaseWatch",
    "LogBatch",
    "LogKey",
    "LogMessage",
    "LogStream",
    "LogText",
    "LogWord",
    "OutboxEntry",
    "StoreChange",
    "StoreRow",
    "StoreSlot",
]

#: All models of the app.
ALL = (
    CapturedStatement,
    LayerMessage,
    LayerTip,
    LeaseMember,
    LeaseWatch,
    LogBatch,
    LogKey,
    LogMessage,
    LogStream,
    LogText,
    LogWord,
    OutboxEntry,
    StoreChange,
    StoreRow,
    StoreSlot,
)
