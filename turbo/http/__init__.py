"""HTTP responses for Turbo that also work in browsers without Turbo."""

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
