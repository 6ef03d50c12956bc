"""Live pages for Django: Hotwire Turbo Streams over Channels."""

from __future__ import annotations

from turbo import components
from turbo.broadcast import flush
from turbo.changes import ChangesQuerySet, announce
from turbo.context import suppress
from turbo.metrics import counters
from turbo.model_streams import ModelStream
from turbo.revocation import revoke
from turbo.shortcuts import (
    TurboRender,
    TurboResponse,
    remove_frame,
    render_frame,
    render_frame_string,
)
from turbo.streams import Stream

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
    "remove_frame",
    "render_frame",
    "render_frame_string",
    "revoke",
    "suppress",
]
