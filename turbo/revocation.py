"""
Ending subscriptions from the server's side, across all processes.

An order is a message on the control stream, which every hub hears, with the same
guarantee as any other: one that the layer lost is read from the replay log. A
revocation is also noted in the log for as long as signed names live, so that a page
cannot come back with a name from before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from turbo.broadcast import broadcast, get_publisher
from turbo.conf import get_settings
from turbo.gate import forbidden_keys
from turbo.identity import session_hash
from turbo.names import CONTROL, user_key
from turbo.protocol import Subscription
from turbo.registry import resolve

__all__ = ["Order", "recheck", "revoke", "revoke_session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What the connections are to do.

    Those of ``user``, of ``session``, or with a subscription to ``stream`` (an empty
    one means any) end what matches; with ``recheck`` they only ask again.
    """

    user: str = ""
    session: str = ""
    stream: str = ""
    recheck: bool = False

    @classmethod
    @lru_cache(maxsize=16)  # every connection asks the same
    def parse(cls, text: str | None) -> Order:
        """Return the order in a message; ``None`` (lost ones) asks everybody again."""
        given = json.loads(text) if text else {}
        return cls(**given) if given else cls(recheck=True)

    def concerns(self, *, user: str | None, session: str) -> bool:
        """Return whether a connection of this user and session is meant."""
        return self.user in ("", user) and self.session in ("", session)

    def matching(self, subscriptions: Iterable[Subscription]) -> list[Subscription]:
        """Return those subscriptions that are meant."""
        return [held for held in subscriptions if self.stream in ("", held.name)]

    def send(self) -> None:
        """Tell all processes."""
        values = {
            "user": self.user,
            "session": self.session,
            "stream": self.stream,
            "recheck": self.recheck,
        }
        order = {name: value for name, value in values.items() if value}
        broadcast(CONTROL, json.dumps(order))


def revoke(user: Any = None, stream: Any = None) -> None:
    """
    End subscriptions now, in all processes, and refuse names signed before now.

    Give ``user`` to end all of theirs, ``stream`` (a stream, an instance, or a name) to
    end everybody's, or both. The pages get ``denied`` and do not come back by
    themselves; whoever loads the page anew is asked ``user_passes_test`` as ever::

        room.members.remove(user)
        turbo.revoke(user=user, stream=room)
    """
    if user is None and stream is None:
        raise TypeError("revoke() needs a user, a stream, or both.")
    key = user_key(user) if user is not None else None
    if user is not None and key is None:
        raise ValueError("revoke() needs a user who can log in, not an anonymous one.")
    name = resolve(stream).stream_name if stream is not None else None
    noted = forbidden_keys(name, key)[-1]
    get_publisher().forbid([noted], seconds=get_settings().signed_name_max_age)
    Order(user=key or "", stream=name or "").send()


def revoke_session(session_key: str | None) -> None:
    """End the subscriptions of one session: it was logged out."""
    if session_key:
        Order(session=session_hash(session_key)).send()


def recheck(user: Any) -> None:
    """Ask again whether ``user`` may see what they are subscribed to."""
    if (key := user_key(user)) is not None:
        Order(user=key, recheck=True).send()
