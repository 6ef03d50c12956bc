"""
The inspector: a page and a toolbar panel that show what goes on.

With ``DEBUG`` it shows the broadcasts of its process, from
:mod:`turbo.delivery.recorders` and :data:`turbo.metrics.counted`. With
``TURBO["INSPECTOR"] = "staff"`` it shows names and counts of all processes to staff.
Otherwise nothing is connected, and its page responds with 404.
"""

from __future__ import annotations
