"""A page, an observer, a binding and another service each hear of a change once."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from tests.bindings.app.models import Product
from tests.bindings.conftest import Bind, bind  # noqa: F401 - a fixture
from tests.database.conftest import CAPTURING, Capturing
from tests.observers.app.models import Person
from tests.pubsub.conftest import project_settings
from tests.pubsub.serving import Subscriber
from tests.pubsub.shop.models import Topping
from tests.support.servers import PATIENCE, Valkey
from tests.testapp.models import Board, Card
from turbo.bindings.cache.reading import forget_copies
from turbo.delivery.broadcast import shut_down
from turbo.delivery.names import CONTROL
from turbo.observers.wire.notice import instance_stream, model_stream
from turbo.pubsub.message import GAP

pytestmark = pytest.mark.processes

Sent = list[tuple[str, str]]


def names(sent: Sent) -> list[str]:
    return [name for name, _ in sent]


def test_a_page(capture: Capturing, sent: Sent) -> None:
    first, second = (
        Board.objects.using(CAPTURING).create(name=name) for name in ("a", "b")
    )
    sent.clear()
    capture(Card)

    capture.sql(
        "INSERT INTO testapp_card (id, title, board_id) VALUES (7, 'x', %s)", first.pk
    )
    capture.tell()
    capture.sql("UPDATE testapp_card SET board_id = %s", second.pk)
    capture.tell()
    capture.sql("DELETE FROM testapp_card")
    capture.tell()

    here, there = first.stream.stream_name, second.stream.stream_name
    assert [(name, action(data)) for name, data in sent] == [
        (here, "append"),
        (here, "remove"),
        (there, "append"),
        (there, "remove"),
    ]


def action(data: str) -> str:
    return data.partition('action="')[2].partition('"')[0]


def test_a_page_that_refreshes_itself(capture: Capturing, sent: Sent) -> None:
    """A statement with many rows refreshes the stream of all rows once."""
    boards = [Board.objects.using(CAPTURING).create(name=str(n)) for n in range(3)]
    sent.clear()
    capture(Board)

    capture.sql("UPDATE testapp_board SET name = 'b'")
    capture.tell()

    expected = {"testapp:BoardStream", *(board.stream.stream_name for board in boards)}
    assert sorted(names(sent)) == sorted(expected)


def test_an_observer(capture: Capturing, sent: Sent) -> None:
    capture(Person)

    capture.sql(
        "INSERT INTO observers_app_person (id, name, active) VALUES (7, '', true)"
    )
    capture.tell()

    lists, rows = model_stream(Person, CAPTURING), instance_stream(Person, 7, CAPTURING)
    assert names(sent).count(lists) == names(sent).count(rows) == 1


def test_a_binding(capture: Capturing, bind: Bind, sent: Sent) -> None:  # noqa: F811
    capture(Product)
    binding = bind(Product, using=CAPTURING)()
    product = Product.objects.using(CAPTURING).create(name="Tea", stock=1)
    capture.tell()
    assert binding.all()[product.pk].stock == 1
    sent.clear()

    capture.sql("UPDATE bindings_app_product SET stock = 2")
    assert binding.all()[product.pk].stock == 1
    capture.tell()
    assert binding.all()[product.pk].stock == 2
    capture.sql("TRUNCATE bindings_app_product CASCADE")
    capture.tell()

    assert binding.all() == {}
    forget_copies()


def test_another_service(capture: Capturing, valkey: Valkey) -> None:
    capture(Topping)
    with (
        override_settings(**project_settings(valkey)),
        Subscriber(valkey, "django:shop-Topping") as subscriber,
    ):
        capture.sql(
            "INSERT INTO shop_topping (id, name, secret, draft) "
            "VALUES (7, 'Basil', false, false)"
        )
        capture.tell()

        channel, body = subscriber.next()
        assert (channel, body["action"], body["pk"]) == (
            "django:shop-Topping",
            "created",
            7,
        )
        assert subscriber.nothing()
        shut_down(PATIENCE)


def test_all_streams_have_a_gap_if_it_is_many(capture: Capturing, sent: Sent) -> None:
    capture(Card, Board)

    capture.sql("TRUNCATE testapp_card, testapp_board CASCADE")
    capture.tell()

    assert names(sent) == [CONTROL]


def test_another_service_has_a_gap_if_it_is_many(
    capture: Capturing, valkey: Valkey
) -> None:
    capture(Topping)
    with override_settings(**project_settings(valkey)):
        with valkey.client() as client, client.pubsub() as pubsub:
            pubsub.subscribe("turbo:pubsub")
            assert pubsub.get_message(timeout=PATIENCE)
            capture.sql("TRUNCATE shop_topping CASCADE")
            capture.tell()
            message: Any = pubsub.get_message(timeout=PATIENCE)
        shut_down(PATIENCE)

    assert message["data"] == GAP
