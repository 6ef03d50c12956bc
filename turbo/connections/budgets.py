"""
Budgets of each connection, and of each user over all connections.

Frames, names, tests, replayed bytes and whispers have a rate: a number of them is
allowed in a minute, all at once or spread over it. List views, keys, detached actions
and subscriptions are held: a number of them is allowed at one time.

A visitor who is not logged in is counted by session. Without a session, only the
connection is counted, so nobody can use up the budget of others. Each process counts
for itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from typing import Any, get_args

from turbo import metrics
from turbo.connections.limits import Held, Rate, get_limits
from turbo.connections.users import is_pending, session_hash
from turbo.delivery.names import user_key
from turbo.runtime.namespaces import in_namespace
from turbo.typing import Scope

__all__ = ["ConnectionBudget", "accounts"]

logger = logging.getLogger("turbo.budgets")

MINUTE = 60.0


class _Account:
    """The used parts of one set of limits."""

    # Every connected page has one, so it is small.
    __slots__ = (
        "actions",
        "frames",
        "keys",
        "lists",
        "names",
        "replay_bytes",
        "section",
        "subscriptions",
        "tests",
        "told",
        "waiting",
        "whispers",
    )

    def __init__(self, section: str) -> None:
        self.section = section
        # The times at which each allowance will be complete again.
        self.frames = self.names = self.tests = self.replay_bytes = 0.0
        self.whispers = 0.0
        # The amounts that are held.
        self.actions = self.keys = self.lists = self.subscriptions = self.waiting = 0
        #: When the client was last told about each limit.
        self.told: dict[str, float] | None = None

    def limit(self, what: str) -> int | None:
        value: int | None = getattr(get_limits(self.section), what)
        return value

    def delay(self, what: Rate, amount: int) -> float:
        """Return the seconds until ``amount`` may be spent."""
        if (limit := self.limit(what)) is None:
            return 0.0
        cost = min(amount / limit, 1.0) * MINUTE  # at most the whole allowance
        return max(0.0, float(getattr(self, what)) + cost - MINUTE - time.monotonic())

    def take(self, what: Rate, amount: int) -> None:
        if (limit := self.limit(what)) is not None:
            whole = max(getattr(self, what), time.monotonic())
            setattr(self, what, whole + amount / limit * MINUTE)

    def has_room(self, what: Held, amount: int) -> bool:
        limit = self.limit(what)
        return limit is None or getattr(self, what) + amount <= limit

    def change(self, what: Held, amount: int) -> None:
        setattr(self, what, getattr(self, what) + amount)

    def may_tell(self, what: str) -> bool:
        """Return whether the client may be told about ``what``, once a minute."""
        told, now = self.told or {}, time.monotonic()
        if now - told.get(what, -MINUTE) < MINUTE:
            return False
        self.told = told | {what: now}
        return True


class _UserAccount(_Account):
    """The account of a user; it is kept while it is needed."""

    __slots__ = ("connections", "name")

    def __init__(self, name: str) -> None:
        super().__init__("USER_LIMITS")
        self.name = name
        self.connections = 0

    def is_used(self) -> bool:
        """Return whether the account still has to be kept."""
        now = time.monotonic()
        return self.connections > 0 or any(getattr(self, r) > now for r in _RATES)


_RATES: tuple[Rate, ...] = get_args(Rate)
_HELD: tuple[Held, ...] = get_args(Held)


class ConnectionBudget(_Account):
    """
    The budget of one connection, together with that of its user.

    A request must fit into both. It belongs to the event loop of its connection.
    """

    __slots__ = ("_is_closed", "_user")

    def __init__(self, scope: Scope) -> None:
        super().__init__("CONNECTION_LIMITS")
        self._user: _UserAccount | None = None
        self._is_closed = False
        self.identify(scope.get("user"), scope.get("session"))

    def identify(self, user: Any, session: Any) -> None:
        """Count for this user from now on, who may have been unknown before."""
        if self._is_closed:
            return
        key = None if is_pending(user) else user_key(user)
        key = key and in_namespace(key)
        kept = getattr(session, "session_key", None)
        name = f"user {key}" if key else kept and f"session {session_hash(kept)}"
        if name == (self._user and self._user.name):
            return
        self._leave_user()
        if name:
            self._user = _account_of(name)
            self._user.connections += 1
            for held in _HELD:
                self._user.change(held, getattr(self, held))
            # This connection's spending counts for a user who was unknown before.
            for rate in _RATES:
                if limit := self.limit(rate):
                    spent = (getattr(self, rate) - time.monotonic()) / MINUTE * limit
                    self._user.take(rate, max(0, round(spent)))

    @property
    def owner(self) -> Hashable:
        """Return a key that all connections of the user share."""
        return self._user.name if self._user else id(self)

    def spend(self, what: Rate, amount: int = 1) -> bool:
        """Spend ``amount`` if enough is left, and return whether it was."""
        if enough := self.can_spend(what, amount):
            self.charge(what, amount)
        return enough

    def can_spend(self, what: Rate, amount: int = 1) -> bool:
        """Return whether there is enough left."""
        if any(account.delay(what, amount) for account in self._accounts()):
            self._tell(what)
            return False
        return True

    def charge(self, what: Rate, amount: int) -> None:
        """Spend ``amount``, even if it is more than what is left."""
        for account in self._accounts():
            account.take(what, amount)

    def hold(self, what: Held, amount: int = 1) -> bool:
        """Hold ``amount`` until it is released; return whether there was room."""
        if not all(account.has_room(what, amount) for account in self._accounts()):
            self._tell(what)
            return False
        for account in self._accounts():
            account.change(what, amount)
        return True

    def release(self, what: Held, amount: int = 1) -> None:
        """Release an amount that was held."""
        for account in self._accounts():
            account.change(what, -amount)

    async def next_frame(self, on_limit: Callable[[], None] | None = None) -> None:
        """
        Wait until the client's next frame may be read; other tasks may run first.

        If the client has to wait for its limit, ``on_limit`` is called once a minute.
        """
        await asyncio.sleep(0)
        delay = max(account.delay("frames", 1) for account in self._accounts())
        if delay:
            if self._tell("frames") and on_limit is not None:
                on_limit()
            await asyncio.sleep(delay)
        self.charge("frames", 1)

    def close(self) -> None:
        """Release everything when the connection has ended."""
        self._is_closed = True
        self._leave_user()

    def _accounts(self) -> tuple[_Account, ...]:
        return (self,) if self._user is None else (self, self._user)

    def _leave_user(self) -> None:
        if (account := self._user) is not None:
            self._user = None
            account.connections -= 1
            for what in _HELD:
                account.change(what, -getattr(self, what))

    def _tell(self, what: str) -> bool:
        """Count and log a refusal; return whether to tell the client, once a minute."""
        metrics.count("limited", what=what)
        user = self._user
        if not (user or self).may_tell(what):
            return False
        if user or _strangers.may_tell(what):
            logger.warning(
                "%s asks for more %s than is allowed.",
                user.name.capitalize() if user else "A connection without a session",
                what.replace("_", " "),
            )
        return True


# When a limit was last logged for connections without an account.
_strangers = _Account("USER_LIMITS")
# Accounts of users, by name. If there are many, unused ones are dropped.
_accounts: dict[str, _UserAccount] = {}
_many = 1_024


def accounts() -> int:
    """Return how many users have an account in this process."""
    return len(_accounts)


def _account_of(name: str) -> _UserAccount:
    global _many
    if (account := _accounts.get(name)) is None:
        if len(_accounts) >= _many:
            _forget_unused()
            _many = max(1_024, 2 * len(_accounts))
        account = _accounts[name] = _UserAccount(name)
    return account


def _forget_unused() -> None:
    for name in [name for name, account in _accounts.items() if not account.is_used()]:
        del _accounts[name]
