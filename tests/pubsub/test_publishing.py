"""What other services hear on Redis channels, and when."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

import turbo
from tests.pubsub.conftest import databases, project_settings, turbo_settings
from tests.pubsub.serving import Subscriber
from tests.pubsub.shop.models import Crate, FavouriteTopping, Pizza, Topping
from tests.support.connects import counting_connects
from tests.support.listening import rolled_back
from tests.support.servers import PATIENCE, Project, Valkey, channel_layer, wait_until
from turbo.delivery.broadcast import get_publisher
from turbo.pubsub.channel_writer import send
from turbo.pubsub.message import Announcement

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.usefixtures("published"),
]


@pytest.fixture
def heard(valkey: Valkey) -> Iterator[Subscriber]:
    """What is heard on the channel of everything."""
    with Subscriber(valkey, "django") as subscriber:
        yield subscriber


IN_MEMORY = {"default": channel_layer("memory")}


def said(model: str, action: str, pk: Any) -> tuple[str, Any]:
    return "django", {"app": "shop", "model": model, "action": action, "pk": pk}


@contextmanager
def publisher_halted() -> Iterator[None]:
    """Nothing is published before the end of the block, where somebody listens."""
    end = Event()
    get_publisher()._loop.call_soon_threadsafe(end.wait, PATIENCE)
    try:
        yield
    finally:
        end.set()


def test_redis_cli_sees_the_message(valkey: Valkey) -> None:
    """``redis-cli SUBSCRIBE django:shop-Topping:created`` prints it."""
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        pytest.skip("no redis-cli")
    channel = "django:shop-Topping:created"
    with subprocess.Popen(
        [program, "-p", str(valkey.port), "SUBSCRIBE", channel],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)][1] == f"{channel}\n"

        topping = Topping.objects.create(name="Gouda")
        lines = [process.stdout.readline() for _ in range(3)]
        process.kill()

    body = f'{{"app":"shop","model":"Topping","action":"created","pk":{topping.pk}}}'
    assert lines == ["message\n", f"{channel}\n", f"model:{body}\n"]


def test_each_action_is_published_on_three_channels(valkey: Valkey) -> None:
    """Everything, one model, one model and action: in this order."""
    channels = ["django", "django:shop-Topping"]
    actions = [f"django:shop-Topping:{a}" for a in ("created", "saved", "deleted")]
    with Subscriber(valkey, *channels, *actions) as heard:
        topping = Topping.objects.create(name="Gouda")
        pk = topping.pk
        topping.save()
        topping.delete()
        messages = heard.some(9)

    assert messages == [
        (channel, {"app": "shop", "model": "Topping", "action": action, "pk": pk})
        for action, own in zip(("created", "saved", "deleted"), actions, strict=True)
        for channel in (*channels, own)
    ]


def test_rolled_back_work_publishes_nothing(heard: Subscriber) -> None:
    """Nor does what a savepoint takes back."""
    with rolled_back():
        Topping.objects.create(name="never")
    with transaction.atomic():
        kept = Topping.objects.create(name="kept")
        with rolled_back():
            kept.save()
            Topping.objects.create(name="never")
    with transaction.atomic():
        Topping.objects.create(name="short-lived").delete()

    assert heard.next() == said("Topping", "created", kept.pk)
    turbo.flush()
    assert heard.nothing()


def test_nothing_is_published_before_the_commit(heard: Subscriber) -> None:
    """Who reads the row upon the message finds it."""
    with transaction.atomic():
        topping = Topping.objects.create(name="Gouda")
        turbo.flush()
        assert heard.nothing()

    assert heard.next() == said("Topping", "created", topping.pk)


def test_saves_of_one_transaction_are_one_message(heard: Subscriber) -> None:
    with transaction.atomic():
        topping = Topping.objects.create(name="Gouda")
        topping.save()
        topping.save()

    assert heard.next() == said("Topping", "created", topping.pk)
    turbo.flush()
    assert heard.nothing()


def test_should_notify_decides(heard: Subscriber) -> None:
    """It is asked with the instance as it was saved, and the action."""
    draft = Topping.objects.create(name="Gouda", draft=True)
    draft.draft = False
    draft.save()

    assert heard.next() == said("Topping", "saved", draft.pk)


def test_an_external_model_is_listened_to_by_configuration_only(
    heard: Subscriber,
) -> None:
    """Its code does not change; a key may be of any type."""
    number = uuid.uuid4()
    Crate.objects.create(number=number).delete()

    assert heard.some(2) == [
        said("Crate", "created", str(number)),
        said("Crate", "deleted", str(number)),
    ]


def test_without_the_configuration_it_is_not(heard: Subscriber) -> None:
    """The settings are read when they change."""
    with override_settings(TURBO={}):
        Crate.objects.create(number=uuid.uuid4())
        topping = Topping.objects.create(name="Gouda")

    assert heard.next() == said("Topping", "created", topping.pk)


def test_a_proxy_is_its_model(heard: Subscriber) -> None:
    """One message, under the name of the model with the table."""
    topping = FavouriteTopping.objects.create(name="Gouda")

    assert heard.next() == said("Topping", "created", topping.pk)
    turbo.flush()
    assert heard.nothing()


def test_other_databases_are_heard(heard: Subscriber) -> None:
    """Their own commit counts."""
    with transaction.atomic("other"):
        topping = Topping(name="Gouda")
        topping.save(using="other")

    assert heard.next() == said("Topping", "created", topping.pk)


def test_bulk_operations_and_announcements_are_heard(heard: Subscriber) -> None:
    """Through the library's queryset, or by a call."""
    first, second = Topping.objects.bulk_create([Topping(name=n) for n in "ab"])
    Topping.objects.filter(pk=first.pk).update(name="c")
    turbo.announce(second, "delete")

    assert heard.some(4) == [
        said("Topping", "created", first.pk),
        said("Topping", "created", second.pk),
        said("Topping", "saved", first.pk),
        said("Topping", "deleted", second.pk),
    ]


def test_a_many_to_many_change_is_a_save(heard: Subscriber) -> None:
    pizza = Pizza.objects.create(name="Margherita")
    pizza.toppings.add(Topping.objects.create(name="Gouda", draft=True))

    assert heard.some(2) == [
        said("Pizza", "created", pizza.pk),
        said("Pizza", "saved", pizza.pk),
    ]


def test_suppressed_changes_are_not_heard(heard: Subscriber) -> None:
    with turbo.suppress():
        Topping.objects.create(name="seed")
    turbo.flush()

    assert heard.nothing()


def test_messages_keep_the_order_of_the_commits(heard: Subscriber) -> None:
    """More of them than are published at once."""
    toppings = [Topping.objects.create(name=str(n)) for n in range(200)]

    assert heard.some(200) == [said("Topping", "created", t.pk) for t in toppings]


def test_flush_waits_for_the_messages(heard: Subscriber) -> None:
    """And what ends a process does the same."""
    Topping.objects.create(name="Gouda")

    assert turbo.flush(PATIENCE)
    assert get_publisher().queues.waiting() == 0


def test_a_process_that_ends_publishes_first(
    heard: Subscriber, valkey: Valkey, tmp_path: Path
) -> None:
    """A shell, a management command, a worker: each drains its queue at its end."""
    project = Project(tmp_path, {"DATABASES": databases(), **project_settings(valkey)})
    code = "from tests.pubsub.shop.models import Topping;"
    project.shell(f"{code} [Topping.objects.create(name=str(n)) for n in range(100)]")

    assert len({body["pk"] for _, body in heard.some(100)}) == 100


def test_a_save_survives_what_cannot_be_asked(
    heard: Subscriber, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in should_notify is logged; the row is there."""

    def broken(instance: Any, action: str) -> bool:
        raise RuntimeError("no idea")

    monkeypatch.setattr(Topping, "should_notify", broken)
    topping = Topping.objects.create(name="Gouda")
    monkeypatch.undo()

    assert Topping.objects.filter(pk=topping.pk).exists()
    [record] = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "shop.Topping" in record.getMessage()
    turbo.flush()
    assert heard.nothing()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "turbo.pubsub" and record.levelno >= logging.ERROR
    ]


def test_redis_killed_and_restarted(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Saves go on, one line is logged, and what was saved meanwhile goes out."""
    Topping.objects.create(name="before")
    turbo.flush()
    valkey.kill()

    with counting_connects() as connects:
        toppings = [Topping.objects.create(name=str(n)) for n in range(50)]
    wait_until(lambda: bool(errors(caplog)), what="the outage is logged")
    while_down = Topping.objects.create(name="after the line")
    with publisher_halted():
        valkey.start()
        listening = Subscriber(valkey, "django")
    with listening as heard:
        message = heard.next()
        while message[1]["pk"] != while_down.pk:
            message = heard.next()
        again = Topping.objects.create(name="again")
        assert heard.next() == said("Topping", "created", again.pk)

    assert get_ident() not in connects
    assert len(toppings) == 50
    assert len(errors(caplog)) == 1
    assert "Pub/sub messages are sent again." in caplog.messages


def test_redis_frozen_holds_up_no_save(valkey: Valkey) -> None:
    """It accepts connections and answers nothing."""
    Topping.objects.create(name="before")
    turbo.flush()
    valkey.pause()
    try:
        with counting_connects() as connects:
            for n in range(20):
                Topping.objects.create(name=str(n))
        assert get_publisher().queues.waiting() == 20
    finally:
        valkey.resume()

    assert get_ident() not in connects
    assert turbo.flush(PATIENCE)


def test_the_queue_is_bounded(valkey: Valkey) -> None:
    """The oldest go; the server is told that some are missing."""
    settings = turbo_settings() | {"PUBLISH_QUEUE": 20}
    valkey.kill()
    with override_settings(TURBO=settings):
        toppings = [Topping.objects.create(name=str(n)) for n in range(100)]
        wait_until(lambda: get_publisher().queues.waiting() <= 20 + 64)
        with publisher_halted():
            valkey.start()
            client = valkey.client()
            pubsub = client.pubsub()
            pubsub.subscribe("turbo:pubsub")
            assert pubsub.get_message(timeout=PATIENCE)
        with client, pubsub:
            texts: list[str] = []
            while not texts or json.loads(texts[-1]).get("pk") != toppings[-1].pk:
                message = pubsub.get_message(timeout=PATIENCE)
                assert message is not None
                texts.append(message["data"])

    assert "{}" in texts
    assert len(texts) < 100


def test_what_redis_has_seen_is_not_published_twice(
    heard: Subscriber, valkey: Valkey
) -> None:
    """A reply that was lost makes the same call come again."""
    send(Announcement(app="shop", model="Topping", action="saved", pk=1))
    turbo.flush()
    with valkey.client() as client:
        [key] = client.keys("turbo:pubsub:*")
        assert client.get(key) == "1"
        client.set(key, 2)
    send(Announcement(app="shop", model="Topping", action="saved", pk=2))
    send(Announcement(app="shop", model="Topping", action="saved", pk=3))

    assert heard.next() == said("Topping", "saved", 1)
    assert heard.next() == said("Topping", "saved", 3)


def test_without_redis_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing waits for ever, and saves go on."""
    with override_settings(CHANNEL_LAYERS=IN_MEMORY, TURBO=turbo_settings()):
        for number in range(3):
            Topping.objects.create(name=str(number))
            assert turbo.flush(PATIENCE)
    with override_settings(TURBO=turbo_settings(REDIS_HOSTS="redis://localhost")):
        Topping.objects.create(name="misconfigured")
        assert turbo.flush(PATIENCE)

    said = [text for text in caplog.messages if text.startswith("No changes are")]
    assert len(said) == 1


def test_another_redis_than_the_layers(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """``REDIS_HOSTS`` names it; settings that change count at once."""
    Topping.objects.create(name="here")
    turbo.flush()
    elsewhere = f"redis://127.0.0.1:{valkey.port}/5"
    with override_settings(
        CHANNEL_LAYERS=IN_MEMORY, TURBO=turbo_settings(REDIS_HOSTS=[elsewhere])
    ):
        with Subscriber(valkey, "django") as heard:
            topping = Topping.objects.create(name="there")
            assert heard.next() == said("Topping", "created", topping.pk)
        with valkey.client() as client:
            client.select(5)
            assert len(client.keys("turbo:pubsub:*")) == 1
        turbo.flush()
