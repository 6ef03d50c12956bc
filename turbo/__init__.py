"""Live pages for Django: Hotwire Turbo Streams over Channels."""

from __future__ import annotations

from turbo import components
from turbo.changes import ChangesQuerySet, announce
from turbo.connections.revocation import revoke
from turbo.delivery.broadcast import flush
from turbo.metrics import counters
from turbo.runtime.context import immediately, suppress
from turbo.shortcuts import (
    TurboRender,
    TurboResponse,
    remove_frame,
    render_frame,
    render_frame_string,
)
from turbo.streams.model_streams import ModelStream
from turbo.streams.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "ChangesQuerySet",
    "ModelStream",
    "Stream",
    "TurboRender",
    "TurboResponse",
    "announce",
    "components",
    "counters",
    "flush",
    "immediately",
    "remove_frame",
    "render_frame",
    "render_frame_string",
    "revoke",
    "suppress",
]
