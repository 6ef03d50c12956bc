"""
The log, the channel layer and the bindings' store in the site's database.

For a site without Redis: add ``"turbo.database"`` to ``INSTALLED_APPS`` and name the
backends in ``TURBO`` and ``CHANNEL_LAYERS``. It also has the outbox, with which changes
survive the process that has committed them, and on PostgreSQL triggers with which those
are told of which Django knows nothing.
"""

from __future__ import annotations

from turbo.changes.captured import capture
from turbo.changes.durability import durable

__all__ = ["capture", "durable"]
