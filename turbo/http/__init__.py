"""Answers over HTTP that Turbo understands, and browsers without it as well."""

from __future__ import annotations

from turbo.http.forms import (
    TurboCreateMixin,
    TurboDeleteMixin,
    TurboFormMixin,
    TurboStreamMixin,
    TurboUpdateMixin,
    accepts_streams,
    arespond,
    invalid_form,
    respond,
    see_other,
    turbo_form,
)

__all__ = [
    "TurboCreateMixin",
    "TurboDeleteMixin",
    "TurboFormMixin",
    "TurboStreamMixin",
    "TurboUpdateMixin",
    "accepts_streams",
    "arespond",
    "invalid_form",
    "respond",
    "see_other",
    "turbo_form",
]
