"""
Capture: changes without signals are told from what the database has noted.

:mod:`~turbo.database.captured.triggers` makes the triggers that note each statement,
:mod:`~turbo.database.captured.signals` what signals have reported of a transaction, and
:mod:`~turbo.database.captured.relay` tells the rest of it, which
:mod:`~turbo.database.captured.remainder` finds.
"""
