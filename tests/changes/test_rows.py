"""What JSON holds of a key or a column is read as what the database gives."""

from __future__ import annotations

import binascii
import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import models
from django.test.utils import isolate_apps

from tests.testapp.models import CompositeItem, Room, UuidItem
from turbo.changes.rows import (
    column_plain,
    column_value,
    pk_from_name,
    pk_text,
    pk_to_name,
    pk_value,
    plain,
)

ID = uuid.UUID(int=5)
NOON = datetime.datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("model", "pk", "text", "name"),
    [
        (Room, 7, "7", "7"),
        (UuidItem, ID, f'"{ID}"', str(ID)),
        (CompositeItem, (3, 7), "[3,7]", "[3,7]"),
    ],
)
def test_a_key_comes_back(
    model: type[models.Model], pk: Any, text: str, name: str
) -> None:
    assert (pk_text(pk), pk_to_name(pk)) == (text, name)

    assert pk_value(model, json.loads(text)) == pk
    assert pk_from_name(model, name) == pk


@pytest.mark.parametrize(
    ("pk", "text", "name"),
    [
        ("é", '"é"', "é"),
        (("é", 1), '["é",1]', r'["\u00e9",1]'),
        (
            (NOON,),
            '["2026-01-02T12:00:00.123456+00:00"]',
            '["2026-01-02T12:00:00.123456+00:00"]',
        ),
        (Decimal("1.50"), '"1.50"', "1.50"),
    ],
)
def test_keys_are_written_as_they_always_were(pk: Any, text: str, name: str) -> None:
    """Signed names and what is kept in Redis outlive the process that wrote them."""
    assert (pk_text(pk), pk_to_name(pk)) == (text, name)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Room, "one"),
        (Room, [1]),
        (Room, {"a": 1}),
        (CompositeItem, 3),
        (CompositeItem, "37"),
        (CompositeItem, [3]),
        (CompositeItem, [3, 7, 1]),
    ],
)
def test_what_is_no_key_is_refused(model: type[models.Model], given: Any) -> None:
    with pytest.raises((TypeError, ValueError, ValidationError)):
        pk_value(model, given)


KEYS: list[tuple[Any, Any]] = [
    (models.BigIntegerField(), 2**62 + 1),
    (models.BinaryField(), b"\x00\xff"),
    (models.CharField(max_length=9), 'é"[1]'),
    (models.DateField(), NOON.date()),
    (models.DateTimeField(), NOON),
    (models.DecimalField(max_digits=30, decimal_places=2), Decimal("1234567890123.50")),
    (models.DurationField(), datetime.timedelta(days=-1, microseconds=1)),
    (models.TimeField(), NOON.time()),
    (models.UUIDField(), ID),
]


@pytest.mark.parametrize(
    ("kind", "part"), KEYS, ids=[type(kind).__name__ for kind, _ in KEYS]
)
@isolate_apps("tests.testapp")
def test_a_key_of_any_kind_comes_back(kind: models.Field[Any, Any], part: Any) -> None:
    """Regression: bytes did not, nor the last digits of a time in a key of parts."""

    class Single(models.Model):
        id = kind.__class__(**kind.deconstruct()[3] | {"primary_key": True})

        class Meta:
            app_label = "testapp"

    class Pair(models.Model):
        one = kind.clone()
        two = models.IntegerField(null=True)
        pk = models.CompositePrimaryKey("one", "two")

        class Meta:
            app_label = "testapp"

    for model, pk in ((Single, part), (Pair, (part, 1)), (Pair, (part, None))):
        assert pk_value(model, json.loads(pk_text(pk))) == pk
        assert pk_from_name(model, pk_to_name(pk)) == pk


@isolate_apps("tests.testapp")
def test_what_is_no_key_of_bytes_is_refused() -> None:
    class Digest(models.Model):
        id = models.BinaryField(primary_key=True)

        class Meta:
            app_label = "testapp"

    with pytest.raises(binascii.Error):
        pk_value(Digest, "b'x'")


@isolate_apps("tests.testapp")
def test_a_column_without_a_value_comes_back() -> None:
    """Regression: one of bytes could not be written."""

    class Empty(models.Model):
        binary = models.BinaryField(null=True)
        data = models.JSONField(null=True)
        lasts = models.DurationField(null=True)

        class Meta:
            app_label = "testapp"

    for name in ("binary", "data", "lasts"):
        field: Any = Empty._meta.get_field(name)
        assert column_plain(field, Empty()) is None
        assert column_value(field, None) is None


def test_numbers_that_json_does_not_know_are_texts() -> None:
    assert plain([float("nan"), float("-inf"), 0.5]) == ["nan", "-inf", 0.5]


@isolate_apps("tests.testapp")
def test_a_column_comes_back() -> None:
    """Of the type that the database gives, with every digit."""

    class Sample(models.Model):
        at = models.DateTimeField()
        binary = models.BinaryField()
        data = models.JSONField()
        lasts = models.DurationField()
        price = models.DecimalField(max_digits=5, decimal_places=2)
        ratio = models.FloatField()

        class Meta:
            app_label = "testapp"

    held = {
        "at": NOON,
        "binary": b"\x00\xff",
        "data": {"a": [1, None]},
        "lasts": datetime.timedelta(days=1, microseconds=1),
        "price": Decimal("8.20"),
        "ratio": float("inf"),
    }
    sample = Sample(**held)

    for name, value in held.items():
        field: Any = Sample._meta.get_field(name)
        text = json.dumps(column_plain(field, sample), allow_nan=False)

        back = column_value(field, json.loads(text))

        assert (back, type(back)) == (value, type(value))


class Weights(json.JSONEncoder):
    def default(self, value: Any) -> Any:
        return f"{value[0]} kg" if isinstance(value, bytes) else super().default(value)


@isolate_apps("tests.testapp")
def test_json_is_written_by_the_encoder_of_its_field() -> None:
    class Sample(models.Model):
        data = models.JSONField(encoder=Weights)

        class Meta:
            app_label = "testapp"

    field: Any = Sample._meta.get_field("data")

    assert column_plain(field, Sample(data={"a": b"\x05"})) == {"a": "5 kg"}
