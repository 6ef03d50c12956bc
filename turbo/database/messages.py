"""The table of the channel layer's messages, and what one transaction does with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.models import F, QuerySet

from turbo.database.models import LayerMessage, LayerTip
from turbo.database.server import Microseconds, delete

__all__ = ["CHANNEL", "LayerRow", "Messages"]

#: What PostgreSQL's processes are notified through.
CHANNEL = "turbo_layer"
#: Nobody waits for the disk: what a crash of the server takes with it is in the log.
NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"
#: Seconds between two deletions of old messages by one process.
SWEEP = 10.0
#: The most rows that are read at once.
AT_ONCE = 1_000


class LayerRow(NamedTuple):
    """A message, in the order of the numbers, which have no holes."""

    number: int
    address: str
    content: bytes


class Messages:
    """The messages in one database, which are kept for ``expiry`` seconds."""

    def __init__(self, alias: str, *, expiry: float) -> None:
        self._alias = alias
        self._expiry = round(expiry * 1_000_000)
        self._swept = time.monotonic()

    def add(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Number and store messages, and tell the processes that wait for them."""
        connection = connections[self._alias]
        with transaction.atomic(using=self._alias):
            tip = self._advance(len(messages))
            LayerMessage.objects.using(self._alias).bulk_create(
                LayerMessage(
                    number=number, address=address, content=content, time=Microseconds()
                )
                for number, (address, content) in enumerate(
                    messages, tip - len(messages) + 1
                )
            )
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(NOTIFY, [CHANNEL])
        with suppress(DatabaseError):  # the message is sent; the next one tries again
            self._sweep()

    def tip(self) -> int:
        """Return the number of the last message."""
        found = self._tips().values_list("number", flat=True).first()
        return found or 0

    def after(self, number: int) -> list[LayerRow]:
        """Return the messages after a number, or the first of them."""
        rows = LayerMessage.objects.using(self._alias).filter(number__gt=number)
        rows = rows.order_by("number")[:AT_ONCE]
        columns = "number", "address", "content"
        return [LayerRow(n, a, bytes(c)) for n, a, c in rows.values_list(*columns)]

    def take_first(self, address: str) -> bytes | None:
        """Take the first message to an address away, if there is one."""
        rows = LayerMessage.objects.using(self._alias).filter(address=address)
        for number, content in rows.order_by("number").values_list("number", "content"):
            # The row stays, because its number must not be missing.
            if rows.filter(number=number).update(address="", content=b""):
                return bytes(content)
        return None

    def clear(self, beginnings: Sequence[str]) -> None:
        """Empty the messages whose addresses begin so; others may share the table."""
        rows = LayerMessage.objects.using(self._alias)
        for beginning in beginnings:
            # LIKE of some databases does not look at the case of letters.
            like = rows.filter(address__startswith=beginning)
            for address in like.values_list("address", flat=True).distinct():
                name = address.removeprefix(beginning)
                if name != address and ":" not in name:  # of a site "site:other"
                    rows.filter(address=address).update(address="", content=b"")

    def _advance(self, count: int) -> int:
        """Lock the tip until the end of the transaction, and return the new one."""
        while not self._tips().update(number=F("number") + count):
            LayerTip.objects.using(self._alias).bulk_create(
                [LayerTip(pk=1)], ignore_conflicts=True
            )
        return self._tips().values_list("number", flat=True).get()

    def _tips(self) -> QuerySet[LayerTip]:
        return LayerTip.objects.using(self._alias).filter(pk=1)

    def _sweep(self) -> None:
        """Delete the messages that are too old, now and then."""
        if time.monotonic() - self._swept < SWEEP:
            return
        self._swept = time.monotonic()
        rows = LayerMessage.objects.using(self._alias)
        delete(rows.filter(time__lt=Microseconds() - self._expiry))
