"""The tables of the bindings' store."""

from __future__ import annotations

from typing import Any

from django.db import models

__all__ = ["ExactTextField", "StoreChange", "StoreRow", "StoreSlot"]


class ExactTextField(models.TextField):  # type: ignore[type-arg]
    """
    A text that comes back as it was, whatever it contains; nothing is looked up by it.

    A column for text has no place for NUL on some databases, and none for a lone
    surrogate, so the column has bytes.
    """

    def get_internal_type(self) -> str:
        """Return what decides on the type of the column."""
        return "BinaryField"

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        """Return the bytes of a text."""
        if not isinstance(value, str):
            return value
        return connection.Database.Binary(value.encode("utf-8", "surrogatepass"))

    def from_db_value(self, value: Any, *args: Any) -> str | None:
        """Return the text that was stored."""
        return None if value is None else str(value, "utf-8", "surrogatepass")


class StoreSlot(models.Model):
    """
    What is known of one binding besides its rows; locked while any of it changes.

    Its columns are those of :class:`~turbo.bindings.store.slot_state.SlotState`. Times
    are Unix times of the database's clock.
    """

    #: Made from the group and the name, which may be long.
    digest = models.CharField(max_length=64)
    group = models.CharField(max_length=255)
    name = ExactTextField()
    epoch = models.CharField(max_length=32)
    #: What identified the data of the database when the epoch began.
    data = models.CharField(max_length=128)
    number = models.BigIntegerField(default=0)
    modified = models.FloatField(default=0.0)
    listened_until = models.FloatField(default=0.0)
    tickets = models.BigIntegerField(default=0)
    #: The tickets that are out, and when each was taken, in JSON.
    out = models.TextField(default="[]")
    filling = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(default=0)
    missed = models.BigIntegerField(default=0)
    listing = models.BigIntegerField(default=0)
    #: How many rows there are between some that stand in the order, in JSON.
    spans = models.TextField(default="[]")
    #: When the slot was last used, give or take half of its age.
    used = models.FloatField(default=0.0, db_index=True)

    class Meta:
        # Those of a unique field would have another one for LIKE on PostgreSQL.
        constraints = (
            models.UniqueConstraint(fields=["digest"], name="turbo_store_slot"),
        )
        indexes = (models.Index(fields=["group"], name="turbo_store_group"),)


class StoreRow(models.Model):
    """
    A row of a slot, or what is known of one that is not in the slot.

    Primary keys and entries of the order are written in hexadecimal digits, which every
    database compares as it does the bytes, whatever its collation.
    """

    slot = models.ForeignKey(
        StoreSlot,
        models.CASCADE,
        related_name="rows",
        db_constraint=False,
        db_index=False,
    )
    # As long as an index of MySQL may be.
    pk_digits = models.CharField(max_length=764)
    #: What the rows are sorted by; without one, the row is not in the slot.
    entry = models.CharField(max_length=764, null=True)
    key = ExactTextField(null=True)
    value = ExactTextField(null=True)
    #: Where the row was last listed, and with which key.
    place = models.IntegerField(null=True)
    listed_key = ExactTextField(null=True)
    #: The ticket under which the row was written while an earlier one was out.
    written = models.BigIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["slot", "pk_digits"], name="turbo_store_row"
            ),
        )
        indexes = (models.Index(fields=["slot", "entry"], name="turbo_store_order"),)


class StoreChange(models.Model):
    """The change that made one version of a slot, in JSON."""

    slot = models.ForeignKey(
        StoreSlot,
        models.CASCADE,
        related_name="changes",
        db_constraint=False,
        db_index=False,
    )
    number = models.BigIntegerField()
    change = ExactTextField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["slot", "number"], name="turbo_store_change"
            ),
        )
