"""What belongs to one request is seen by no other."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from turbo.runtime import context
from turbo.runtime.context import Cause


def test_suppress_is_a_context_manager_that_nests() -> None:
    with context.suppress():
        with context.suppress():
            pass
        assert context.suppressed()

    assert not context.suppressed()


def test_suppress_is_a_decorator() -> None:
    @context.suppress()
    def seed() -> bool:
        return context.suppressed()

    assert seed()
    assert not context.suppressed()


def test_suppress_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), context.suppress():
        _ = 1 / 0

    assert not context.suppressed()


def test_request_id_is_that_of_the_innermost_scope() -> None:
    assert context.request_id() == ""

    with context.request_scope("a"):
        with context.request_scope("b"):
            assert context.request_id() == "b"
        assert context.request_id() == "a"

    assert context.request_id() == ""


def test_origin_is_that_of_the_scope() -> None:
    cause = Cause("chat.Room:1", "w", "@1")

    with context.cause_scope(cause):
        assert context.cause() is cause

    assert context.cause() is None


async def test_a_moment_noted_in_a_thread_is_seen_by_its_task_only() -> None:
    async def request(moment: str) -> str:
        await sync_to_async(context.set_since)(moment)
        await asyncio.sleep(0)
        return context.current_since()

    seen = await asyncio.gather(request("@1"), request("@2"))

    assert seen == ["@1", "@2"]
    assert context.current_since() == ""
