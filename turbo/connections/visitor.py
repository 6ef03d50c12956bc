"""
The visitor of a connection: its user, its session, and their limits.

Everything that serves a client has one: pages, event streams, observers, bindings, and
pub/sub.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.users import (
    at_rest,
    is_pending,
    reload_user,
    scope_user,
    session_hash,
)
from turbo.delivery.names import user_key
from turbo.runtime.namespaces import current
from turbo.runtime.threads import in_thread
from turbo.typing import Scope

__all__ = ["Visitor"]


class Visitor:
    """The user, the session and the namespace of one connection."""

    __slots__ = ("budget", "is_stale", "namespace", "session", "user")

    def __init__(self, scope: Scope) -> None:
        self.namespace = current()
        self.session = scope.get("session")
        self.user = scope_user(scope)
        self.budget = ConnectionBudget(scope)
        #: Whether the user may have changed since the last look-up.
        self.is_stale = False

    @property
    def is_pending(self) -> bool:
        """Return whether the user still has to be looked up in the database."""
        return is_pending(self.user)

    @property
    def key(self) -> Hashable:
        """Return a key; visitors with the same key get the same answers."""
        session = getattr(self.session, "session_key", None)
        return self.namespace, user_key(self.user), session or id(self.budget)

    @property
    def session_hash(self) -> str:
        """Return a hash that identifies the session without revealing its key."""
        return session_hash(getattr(self.session, "session_key", None))

    async def look_up(self) -> None:
        """Look up the user, unless this was done before."""
        if self.is_pending:
            await in_thread(user_key, self.user)
        self.budget.identify(self.user, self.session)

    async def refresh(self) -> bool:
        """Look up the user if necessary; return whether it is still the same."""
        await self.look_up()
        return not self.is_stale or await self.reload()

    async def reload(self) -> bool:
        """Look up the user again; return whether it is the same user."""
        self.is_stale = False  # first, because a revocation may come meanwhile
        if self.is_pending:
            return True
        before = user_key(self.user)
        try:
            found = await reload_user(self.session, self.user)
        except Exception:
            self.is_stale = True
            raise
        if user_key(self.user) != before:
            return False  # the session has been logged out meanwhile
        self.user = found
        self.budget.identify(found, self.session)
        return user_key(found) == before

    def become(self, user: Any) -> None:
        """Set another user, without a session."""
        self.user, self.session = user, None
        self.budget.identify(user, None)

    def rest(self) -> None:
        """Drop data that is not needed once the user is known."""
        self.session, self.user = at_rest(self.session, self.user)
