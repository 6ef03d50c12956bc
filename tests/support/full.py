"""What only a full run looks at, as ``nox --session full`` runs the tests."""

from __future__ import annotations

import os

import pytest

__all__ = ["IS_FULL", "for_full_runs"]

IS_FULL = "TURBO_SOAK_SECONDS" in os.environ

for_full_runs = pytest.mark.skipif(not IS_FULL, reason="for full runs")
