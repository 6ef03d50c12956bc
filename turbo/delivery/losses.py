"""
Losses: changes of which it is not known which streams they concern.

A table may have been emptied, or have had more changes at once than can be named. Then
each stream that a page shows gets a gap marker, from one of the processes that show it.
A page that is not connected then is asked to refresh itself when it comes back, because
its names are older than the loss.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection

from turbo.conf import get_settings
from turbo.delivery.broadcast import broadcast, get_publisher
from turbo.delivery.names import CONTROL
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.runtime.context import first_time

__all__ = ["LOST", "loss_in", "mark_loss", "tell_of_loss"]

#: The key under which the log keeps when something was lost.
LOST = "lost"
#: Seconds by which the clock of a machine that signs names may be ahead.
CLOCKS = 3_600
#: Seconds in which all processes have heard of a loss.
PATIENCE = 60.0


def tell_of_loss() -> None:
    """Let the pages of all streams refresh themselves; once for reported changes."""
    if first_time(LOST):
        seconds = get_settings().signed_name_max_age + CLOCKS
        get_publisher().forbid([LOST], seconds=seconds)
        message = json.dumps({LOST: secrets.token_hex(8)})
        broadcast(CONTROL, message, summary=message)


def loss_in(data: str | None) -> str | None:
    """Return the word of a loss, if a message of the control stream is about one."""
    given = json.loads(data) if data and LOST in data else {}
    word = given.get(LOST) if isinstance(given, dict) else None
    return word if isinstance(word, str) else None


async def mark_loss(word: str, sids: Collection[str]) -> None:
    """Append a gap marker to each stream, unless another process does so."""
    keys = [f"{LOST}:{word}:{sid}" for sid in sids]
    try:
        taken = await get_replay().claim_each(keys, seconds=PATIENCE)
    except Exception:  # an outage, which the publisher reports
        taken = [0.0] * len(keys)
    for sid, pause in zip(sids, taken, strict=True):
        if not pause:
            get_publisher().put(Append(sid, None), summary="")
