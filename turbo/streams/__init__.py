"""Streams: what pages subscribe to, and what the application broadcasts to."""

from __future__ import annotations

from turbo.streams.stream import Stream

__all__ = ["Stream"]
