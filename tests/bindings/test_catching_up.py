"""A client that cannot be told what it has missed loses nothing of what follows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from django.conf import settings as django_settings

from tests.bindings.app.models import Product
from tests.bindings.clients import Talk
from tests.bindings.conftest import Bind
from tests.support.servers import PATIENCE, wait_until
from turbo.bindings import BindingConsumer
from turbo.bindings.cache.notify import stream_name, tell_unknown
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.clients.client import PATIENCE as PAUSE_AT_FIRST
from turbo.bindings.clients.sequence import ChangeSequence
from turbo.bindings.store.memory import MemoryStore
from turbo.bindings.store.versions import Version
from turbo.delivery.broadcast import broadcast, shut_down
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.names import stream_id

pytestmark = pytest.mark.django_db(transaction=True)


class Failing(MemoryStore):
    """A store that, when it is told so, fails to say what has changed since."""

    fails = False
    asked: ClassVar[threading.Event] = threading.Event()
    may_fail: ClassVar[threading.Event] = threading.Event()

    def read(self, slot: Any, known: Any = None) -> Any:
        if known is not None and Failing.fails:
            Failing.asked.set()
            assert Failing.may_fail.wait(PATIENCE)
            Failing.fails = False
            raise LookupError("a bug")
        return super().read(slot, known)


class Listener:
    """Hears of what the client before it has heard of."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Frame] = asyncio.Queue()
        self.deliver = self.heard.put_nowait


@pytest.fixture
def failing_store(settings: Any) -> Iterator[None]:
    backend = {"BINDINGS": {"BACKEND": f"{__name__}.Failing"}}
    settings.TURBO = django_settings.TURBO | backend
    Failing.fails = False
    Failing.asked.clear()
    Failing.may_fail.clear()
    yield
    shut_down()
    forget_copies()


def test_what_is_lost_while_a_client_catches_up_is_asked_for_again() -> None:
    """Regression: nobody asked for it before the next ping."""
    sequence = ChangeSequence()
    sequence.take(None, "")

    sequence.stop()
    sequence.start(Version("e", 5))
    assert not sequence.is_stuck

    sequence.stop()
    sequence.take(None, "")
    sequence.start(Version("e", 6))
    assert sequence.is_stuck


async def test_what_comes_while_a_client_cannot_catch_up_is_told(
    bind: Bind, failing_store: None
) -> None:
    """Regression: it counted as told, so that nobody ever asked for it again."""
    binding = bind(Product)
    consumer = type("Consumer", (BindingConsumer,), {"binding": binding})
    listener = Listener()

    async with Talk(consumer) as talk:
        await talk.synced()
        sid = stream_id(stream_name(binding().slot))
        get_hub().settle(await get_hub().subscribe(listener, [(sid, "")]))
        Failing.fails = True
        tell_unknown(binding().slot)
        assert await asyncio.to_thread(Failing.asked.wait, PATIENCE)
        first = await Product.objects.acreate(name="first")
        for _ in range(2):
            await asyncio.wait_for(listener.heard.get(), PATIENCE)
        Failing.may_fail.set()
        told = await talk.receive()
        second = await Product.objects.acreate(name="second")
        after = await talk.receive()
        get_hub().unsubscribe(listener, [sid])

    assert (told["action"], told["keys"]) == ("create", [first.pk])
    assert (after["action"], after["keys"]) == ("create", [second.pk])


async def test_what_the_store_does_not_have_is_asked_for_less_and_less_often(
    bind: Bind, failing_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a client asked for it twenty times a second."""
    asked: list[float] = []
    read = MemoryStore.read

    def noting(store: MemoryStore, slot: Any, known: Any = None) -> Any:
        if known is not None:
            asked.append(time.monotonic())
        return read(store, slot, known)

    monkeypatch.setattr(MemoryStore, "read", noting)
    binding = bind(Product)
    consumer = type("Consumer", (BindingConsumer,), {"binding": binding})

    async with Talk(consumer) as talk:
        version = Version.parse((await talk.synced())[-1]["version"])
        assert version is not None
        far = Version(version.epoch, version.number + 5)
        broadcast(stream_name(binding().slot), f'{far} {{"action":"delete","pk":1}}')
        await asyncio.to_thread(wait_until, lambda: len(asked) >= 5)

    # No pause is shorter than asked for, however busy the machine is.
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[3] > 4 * PAUSE_AT_FIRST
