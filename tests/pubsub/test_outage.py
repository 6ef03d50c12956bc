"""Redis goes and comes back: the server says so once, and its clients are told."""

from __future__ import annotations

import pytest

from tests.pubsub.serving import PubSubServer, socket
from tests.pubsub.shop.models import Topping
from tests.support.servers import Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

DOWN = "Changes cannot be received"
UP = "Changes are received again."


def test_redis_killed_and_restarted(server: PubSubServer, valkey: Valkey) -> None:
    """A socket stays open, hears of a gap, and of everything after it."""
    before = server.log().count(DOWN), server.log().count(UP)
    with socket(server) as client:
        client.next()
        valkey.kill()
        wait_until(lambda: server.log().count(DOWN) > before[0], what="it is logged")
        valkey.start()
        wait_until(lambda: server.log().count(UP) > before[1], what="it is logged")
        assert client.next() == {"type": "gap"}
        after = Topping.objects.create(name="after")

        assert client.next()["pk"] == after.pk

    assert server.log().count(DOWN) == before[0] + 1


def test_a_socket_that_opens_meanwhile(server: PubSubServer, valkey: Valkey) -> None:
    """It is let in, and told of a gap when changes are heard."""
    up = server.log().count(UP)
    valkey.kill()
    with socket(server) as client:
        assert client.next() == {"hello": ""}
        valkey.start()
        wait_until(lambda: server.log().count(UP) > up, what="it is logged")

        assert client.next() == {"type": "gap"}
        after = Topping.objects.create(name="after")
        assert client.next()["pk"] == after.pk
