"""The namespace of the moment: in threads, in tasks, and in what is done later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import Http404
from django.test import override_settings

from tests.support.tenants import SETTINGS, at, current_tenant, tenant, using_tenants
from turbo.exceptions import ConfigurationError
from turbo.runtime import namespaces
from turbo.runtime.batching import batched
from turbo.runtime.namespaces import current, entered, find, in_namespace, of_task
from turbo.runtime.queue import KeyedQueues
from turbo.runtime.threads import in_thread, in_turn, outside_loop

#: The threads may have connections, which are looked after.
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _tenants() -> Iterator[None]:
    with using_tenants():
        yield


def test_without_the_setting_nothing_is_asked() -> None:
    with override_settings(TURBO={}), tenant("acme"):
        assert current() == ""
        assert in_namespace("chat:RoomStream:1") == "chat:RoomStream:1"
        assert entered("acme") is entered("globex")
        assert namespaces.within("acme", current) is current


def test_a_thread_has_the_namespace_of_the_project() -> None:
    with tenant("acme"):
        assert in_namespace("chat:RoomStream:1") == "acme/chat:RoomStream:1"
    assert in_namespace("chat:RoomStream:1") == "chat:RoomStream:1"


def test_a_thread_enters_and_leaves() -> None:
    with tenant("acme"):
        with entered("globex"):
            assert (current(), current_tenant()) == ("globex", "globex")
        assert (current(), current_tenant()) == ("acme", "acme")
    assert of_task() is None


def test_a_project_may_enter_another_one_inside() -> None:
    """What the project says holds in its threads, whatever the library entered."""
    with entered("acme"), tenant("globex"):
        assert current() == "globex"


def test_the_present_one_is_not_entered_again() -> None:
    without = override_settings(TURBO={"NAMESPACE": current_tenant})
    with tenant("acme"), without, entered("acme"):
        assert current() == "acme"


@pytest.mark.parametrize(
    ("turbo", "problem"),
    [
        ({}, "'ENTER_NAMESPACE'] is not set"),
        ({"ENTER_NAMESPACE": lambda name: tenant("other")}, "returned 'other'"),
    ],
)
def test_a_namespace_that_is_not_entered_stops_the_work(
    turbo: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is logged, because some callers only try again."""
    done: list[str] = []
    with (
        override_settings(TURBO={"NAMESPACE": current_tenant} | turbo),
        pytest.raises(ConfigurationError, match=problem),
    ):
        namespaces.within("acme", done.append)("work")

    assert done == []
    assert problem in caplog.text
    assert current_tenant() == ""


@pytest.mark.parametrize("value", [None, 7, "a" * 64, "a/b", "a:b", "a b", "a\n", "*"])
def test_a_value_that_is_no_namespace(value: Any) -> None:
    with (
        override_settings(TURBO={"NAMESPACE": lambda: value}),
        pytest.raises(ConfigurationError, match="at most 63 letters"),
    ):
        current()


@pytest.mark.parametrize("given", [7, "no.such.module", "tests.support.tenants.at_all"])
def test_a_setting_that_cannot_be_called(given: Any) -> None:
    with (
        override_settings(TURBO={"NAMESPACE": given}),
        pytest.raises(ConfigurationError, match="'NAMESPACE'"),
    ):
        current()


async def test_tasks_of_one_loop_have_their_own() -> None:
    """They share a thread, so nothing is entered there."""

    async def seen(name: str) -> tuple[str, str, str]:
        with entered(name):
            await asyncio.sleep(0)
            return current(), current_tenant(), await in_thread(current_tenant)

    assert await asyncio.gather(seen("acme"), seen("globex")) == [
        ("acme", "", "acme"),
        ("globex", "", "globex"),
    ]


async def test_work_in_turns_is_done_in_the_namespace() -> None:
    with entered("acme"):
        assert await in_turn("owner", current_tenant) == "acme"
        assert outside_loop(current_tenant) == "acme"
    assert await in_turn("owner", current_tenant) == ""


async def test_a_batch_is_of_one_namespace() -> None:
    batches: list[tuple[str, list[int]]] = []

    @batched
    async def ask(numbers: list[int]) -> list[str]:
        batches.append((current(), numbers))
        return [await in_thread(current_tenant)] * len(numbers)

    async def asking(name: str, number: int) -> str:
        with entered(name):
            return await ask(number)

    answers = await asyncio.gather(
        asking("acme", 1), asking("globex", 1), asking("acme", 2), ask(3)
    )

    assert answers == ["acme", "globex", "acme", ""]
    assert sorted(batches) == [("", [3]), ("acme", [1, 2]), ("globex", [1])]


async def test_a_queue_works_in_the_namespace_in_which_it_was_made() -> None:
    """Whoever fills it, such as the hub, which works for all."""
    done: asyncio.Queue[str] = asyncio.Queue()

    async def work(key: None, items: list[int]) -> None:
        await done.put(await in_thread(current_tenant))

    with entered("acme"):
        queue: KeyedQueues[None, int] = KeyedQueues(work, lambda items: None)
    queue.put(None, 1)

    assert await done.get() == "acme"


def test_a_thread_that_waits_for_a_coroutine_keeps_its_own() -> None:
    async def work() -> str:
        return await in_thread(current_tenant)

    with tenant("acme"):
        assert async_to_sync(work)() in ("", "acme")
        assert current() == "acme"


def test_a_host_is_found() -> None:
    assert find(at("acme")) == "acme"
    assert find(at("stranger")) is None


@pytest.mark.parametrize("error", [LookupError, Http404])
def test_a_host_that_is_not_known_may_raise(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def look(scope: Any) -> str:
        raise error(scope)

    with override_settings(TURBO=SETTINGS | {"FIND_NAMESPACE": look}):
        assert find(at("acme")) is None
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
