"""
What one connection, and one user over all connections, may ask of this process.

Some things have a rate: frames, names, tests, replayed bytes. So many are allowed in a
minute, all at once or spread over it. Others are held: list views, keys, detached
actions, subscriptions. So many are allowed at one time.

A visitor who is not logged in is counted by session, and without a session by
connection alone, so that nobody can use up what belongs to others. All counts are those
of one process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from turbo import metrics
from turbo.conf import get_section
from turbo.exceptions import ConfigurationError
from turbo.identity import is_pending, session_hash
from turbo.names import user_key
from turbo.typing import Scope

__all__ = [
    "ConnectionBudget",
    "ConnectionLimits",
    "Held",
    "Rate",
    "UserLimits",
    "accounts",
    "check_limits",
]

logger = logging.getLogger("turbo.budgets")

#: What is counted by the minute.
Rate: TypeAlias = Literal["frames", "names", "tests", "replay_bytes"]
#: What is counted while it is held.
Held: TypeAlias = Literal["actions", "keys", "lists", "subscriptions", "waiting"]

MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Every key of ``TURBO["CONNECTION_LIMITS"]``; ``None`` stands for no limit."""

    #: Frames of a client, in a minute. Further ones are read as time allows.
    frames: int | None = 3_000
    #: Signed names that are decided, in a minute.
    names: int | None = 1_000
    #: Permission tests that are asked, in a minute.
    tests: int | None = 600
    #: Bytes that are sent from the replay log, in a minute.
    replay_bytes: int | None = 16_777_216
    #: Detached actions that run.
    actions: int | None = 20
    #: Rows that list views remember.
    keys: int | None = 50_000
    #: List views.
    lists: int | None = 20
    #: Subscriptions; pages have ``MAX_STREAMS``, which is asked first.
    subscriptions: int | None = 1_000
    #: Subscriptions that wait to be decided.
    waiting: int | None = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits(ConnectionLimits):
    """Every key of ``TURBO["USER_LIMITS"]``; for all connections of one user."""

    frames: int | None = 15_000
    names: int | None = 5_000
    tests: int | None = 2_000
    replay_bytes: int | None = 67_108_864
    actions: int | None = 60
    keys: int | None = 100_000
    lists: int | None = 60
    subscriptions: int | None = 3_000
    waiting: int | None = 500


def check_limits() -> None:
    """Raise :exc:`ConfigurationError` for limits that are none."""
    for name in _SECTIONS:
        limits = _limits(name)
        for field in fields(limits):
            value = getattr(limits, field.name)
            if value is not None and not (type(value) is int and value > 0):
                raise ConfigurationError(
                    f"TURBO[{name!r}][{field.name.upper()!r}] is {value!r}, which is "
                    f"neither a positive whole number nor None."
                )


_SECTIONS: dict[str, type[ConnectionLimits]] = {
    "CONNECTION_LIMITS": ConnectionLimits,
    "USER_LIMITS": UserLimits,
}


def _limits(section: str) -> ConnectionLimits:
    return get_section(section, _SECTIONS[section])


class _Account:
    """What has been used of one set of limits."""

    __slots__ = ("_full", "_held", "_section", "_told", "connections", "name")

    def __init__(self, section: str, name: str = "") -> None:
        self._section = section
        self.name = name
        #: How many connections share this; an account of a user lives as long as any.
        self.connections = 0
        # When the allowance of a rate will be whole again.
        self._full: dict[str, float] = {}
        self._held: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def limit(self, what: str) -> int | None:
        value: int | None = getattr(_limits(self._section), what)
        return value

    def delay(self, what: Rate, amount: int) -> float:
        """Return the seconds until so much may be spent."""
        if (limit := self.limit(what)) is None:
            return 0.0
        cost = min(amount / limit, 1.0) * MINUTE  # more than a minute's: wait for all
        return max(0.0, self._full.get(what, 0.0) + cost - MINUTE - time.monotonic())

    def spend(self, what: Rate, amount: int) -> None:
        if (limit := self.limit(what)) is not None:
            now = time.monotonic()
            whole = max(self._full.get(what, 0.0), now)
            self._full[what] = whole + amount / limit * MINUTE

    def has_room(self, what: Held, amount: int) -> bool:
        limit = self.limit(what)
        return limit is None or self._held.get(what, 0) + amount <= limit

    def hold(self, what: Held, amount: int) -> None:
        self._held[what] = self._held.get(what, 0) + amount

    def is_used(self) -> bool:
        """Return whether anything is left to be remembered."""
        now = time.monotonic()
        return self.connections > 0 or any(full > now for full in self._full.values())

    def may_tell(self, what: str) -> bool:
        """Return whether the last word about ``what`` was said a minute ago."""
        now = time.monotonic()
        if now - self._told.get(what, -MINUTE) < MINUTE:
            return False
        self._told[what] = now
        return True


class ConnectionBudget:
    """
    The budget of one connection, with that of its user behind it.

    What is asked must fit into both. Belongs to the event loop of its connection.
    """

    __slots__ = ("_holding", "_own", "_user")

    def __init__(self, scope: Scope) -> None:
        self._own = _Account("CONNECTION_LIMITS")
        self._holding: dict[Held, int] = {}
        self._user: _Account | None = None
        self.identify(scope.get("user"), scope.get("session"))

    def identify(self, user: Any, session: Any) -> None:
        """Count for this user from now on, who may not have been known before."""
        key = None if is_pending(user) else user_key(user)
        kept = getattr(session, "session_key", None)
        name = f"user {key}" if key else kept and f"session {session_hash(kept)}"
        if name == (self._user and self._user.name):
            return
        self._leave_user()
        if name:
            self._user = _account_of(name)
            self._user.connections += 1
            for what, amount in self._holding.items():
                self._user.hold(what, amount)

    def spend(self, what: Rate, amount: int = 1) -> bool:
        """Take ``amount``, and return whether there was enough left."""
        if any(account.delay(what, amount) for account in self._accounts()):
            self._tell(what)
            return False
        for account in self._accounts():
            account.spend(what, amount)
        return True

    def hold(self, what: Held, amount: int = 1) -> bool:
        """Take ``amount`` until it is released, and return whether there was room."""
        if not all(account.has_room(what, amount) for account in self._accounts()):
            self._tell(what)
            return False
        self._change(what, amount)
        return True

    def release(self, what: Held, amount: int = 1) -> None:
        """Give back what was held."""
        self._change(what, -amount)

    async def next_frame(self, on_limit: Callable[[], None] | None = None) -> None:
        """
        Return when the client's next frame may be read; others have their turn first.

        ``on_limit`` is called, once in a minute, when that takes longer.
        """
        await asyncio.sleep(0)
        delay = max(account.delay("frames", 1) for account in self._accounts())
        if delay:
            if self._tell("frames") and on_limit is not None:
                on_limit()
            await asyncio.sleep(delay)
        for account in self._accounts():
            account.spend("frames", 1)

    def close(self) -> None:
        """Give back everything: the connection has ended."""
        self._leave_user()
        self._holding.clear()

    def _accounts(self) -> tuple[_Account, ...]:
        return (self._own,) if self._user is None else (self._own, self._user)

    def _change(self, what: Held, amount: int) -> None:
        self._holding[what] = self._holding.get(what, 0) + amount
        for account in self._accounts():
            account.hold(what, amount)

    def _leave_user(self) -> None:
        if (account := self._user) is not None:
            self._user = None
            account.connections -= 1
            for what, amount in self._holding.items():
                account.hold(what, -amount)

    def _tell(self, what: str) -> bool:
        """Count a refusal; log it, and return true, once in a minute."""
        metrics.count("limited", what=what)
        account = self._accounts()[-1]
        if not account.may_tell(what):
            return False
        logger.warning(
            "%s asks for more %s than is allowed.",
            (account.name or "a connection without a session").capitalize(),
            what.replace("_", " "),
        )
        return True


# Accounts of users, by name. Those that are not used go when there are many.
_accounts: dict[str, _Account] = {}
_many = 1_024


def accounts() -> int:
    """Return how many users this process keeps count of."""
    return len(_accounts)


def _account_of(name: str) -> _Account:
    global _many
    if (account := _accounts.get(name)) is None:
        if len(_accounts) >= _many:
            _forget_unused()
            _many = max(1_024, 2 * len(_accounts))
        account = _accounts[name] = _Account("USER_LIMITS", name)
    return account


def _forget_unused() -> None:
    for name in [name for name, account in _accounts.items() if not account.is_used()]:
        del _accounts[name]
