"""Actions, and what is answered to those that make no sense."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404
from django.test import override_settings
from rest_framework import exceptions

from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person, Team
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.connections.budgets import ConnectionBudget
from turbo.exceptions import DecoratorError
from turbo.observers import (
    AsyncAPIConsumer,
    GenericAsyncAPIConsumer,
    PaginatedModelListMixin,
    StreamedPaginatedListMixin,
    WebsocketLimitOffsetPagination,
    action,
    detached,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def told(message: dict[str, Any]) -> tuple[Any, int, Any, list[Any]]:
    return (
        message["action"],
        message["response_status"],
        message["data"],
        message["errors"],
    )


async def test_create_update_patch_and_delete() -> None:
    team = await Team.objects.acreate(name="t")
    async with Client(PersonConsumer) as client:
        created = await client.ask("create", data={"name": "Ann", "team": team.pk})
        pk = created["data"]["id"]
        updated = await client.ask("update", pk=pk, data={"name": "Anne"})
        patched = await client.ask("patch", pk=pk, data={"active": False})
        deleted = await client.ask("delete", pk=pk)
        gone = await client.ask("retrieve", pk=pk)

    row = {"id": pk, "name": "Ann", "active": True, "team": team.pk}
    assert told(created) == ("create", 201, row, [])
    row["name"] = "Anne"
    assert told(updated) == ("update", 200, row, [])
    row["active"] = False
    assert told(patched) == ("patch", 200, row, [])
    assert told(deleted) == ("delete", 204, None, [])
    assert told(gone) == ("retrieve", 404, None, ["Not found"])


async def test_invalid_data_is_answered_with_the_errors_of_the_serializer() -> None:
    ann = await Person.objects.acreate(name="Ann")
    async with Client(PersonConsumer) as client:
        blank = await client.ask("create", data={"name": ""})
        wrong = await client.ask("update", pk=ann.pk, data={"team": 99})
        text = await client.ask("create", data="x")
        many = await client.ask("create", data=[{"name": "x"}])
        missing = await client.ask("create")

    assert told(blank) == (
        "create",
        400,
        None,
        [{"name": ["This field may not be blank."]}],
    )
    assert wrong["errors"] == [
        {
            "name": ["This field is required."],
            "team": ['Invalid pk "99" - object does not exist.'],
        }
    ]
    assert text["response_status"] == many["response_status"] == 400
    assert "non_field_errors" in text["errors"][0]
    assert missing["errors"] == [{"data": ["This field is required."]}]


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("{", 400, "The frame is not JSON."),
        (" ", 400, "The frame is not JSON."),
        ("[" * 20_000, 400, "The frame is not JSON."),
        ("9" * 5_000, 400, "The frame is not JSON."),
        ('{"action":"list","request_id":NaN}', 400, "The frame is not JSON."),
        ('{"action":"list","request_id":1e999}', 400, "The frame is not JSON."),
        ("[1]", 400, "The frame is not a JSON object."),
        ('"x"', 400, "The frame is not a JSON object."),
        ("null", 400, "The frame is not a JSON object."),
        ("x" * 70_000, 413, "A frame holds at most 65536 bytes."),
        ("{}", 405, "Unable to find action in message body."),
        ('{"action": null}', 405, "Unable to find action in message body."),
        ('{"action": {}}', 405, "Unable to find action in message body."),
        ('{"action": "no"}', 405, 'Method "no" not allowed.'),
        ('{"action": "__init__"}', 405, 'Method "__init__" not allowed.'),
        ('{"action": "close"}', 405, 'Method "close" not allowed.'),
        (
            json.dumps({"action": "list", "request_id": ["x" * 255]}),
            400,
            {"request_id": ["A shorter value is expected."]},
        ),
        (
            json.dumps({"action": "list", "request_id": "x" * 256}),
            400,
            {"request_id": ["A shorter value is expected."]},
        ),
        (
            '{"action": "list", "queryset": 1, "self": 2}',
            400,
            {
                "queryset": ["This field is not expected."],
                "self": ["This field is not expected."],
            },
        ),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_bad_input_gets_an_answer(text: str, status: int, error: Any) -> None:
    """The envelope, a 4xx, nothing at ERROR, and a connection that lives on."""
    async with Client(PersonConsumer) as client:
        await client.send_text(text)
        answer = await client.next()

        assert answer["response_status"] == status
        assert answer["errors"] == [error]
        assert answer["data"] is None
        assert await client.nothing()


async def test_binary_frames_get_an_answer() -> None:
    async with Client(PersonConsumer) as client:
        await client.communicator.send_to(bytes_data=b"{}")
        answer = await client.next()

        assert answer["response_status"] == 400
        assert answer["errors"] == ["Frames are JSON text, not bytes."]
        assert await client.nothing()


async def test_nothing_is_logged_as_an_error_for_what_a_stranger_typed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Client(PersonConsumer) as client:
        for text in ("{", "{}", '{"action": "no"}', '{"action": "retrieve"}'):
            await client.send_text(text)
            await client.next()

    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


class OwnConsumer(AsyncAPIConsumer):
    @action()
    async def strict(self, number: int, request_id: Any, action: str) -> Any:
        return {"number": number}, 200

    @action(name="other-name")
    def named(self, **kwargs: Any) -> Any:
        return kwargs["action"], 202

    @action()
    async def silent(self, **kwargs: Any) -> None:
        await self.send_json({"own": True})

    @action()
    def fail(self, **kwargs: Any) -> None:
        raise RuntimeError("a bug")

    @action()
    def unpackable(self, **kwargs: Any) -> Any:
        return 1, 2, 3

    @action()
    def unserialisable(self, **kwargs: Any) -> Any:
        return object(), 200

    @action(detached=True)
    async def wait_beside(self, name: str, **kwargs: Any) -> Any:
        await self.scope["events"][name].wait()
        return name, 200

    @action(detached=True)
    async def fail_beside(self, **kwargs: Any) -> Any:
        raise RuntimeError("a bug beside")

    @detached
    async def later(self) -> None:
        await self.send_json({"later": True})

    @action()
    async def start(self, **kwargs: Any) -> Any:
        await self.later()
        return None, 200

    @action()
    async def hang_up(self, **kwargs: Any) -> None:
        await self.send_json({"bye": True}, close=4001)

    @action()
    def refuse(self, how: str, **kwargs: Any) -> None:
        raise {
            "404": Http404(),
            "gone": Person.DoesNotExist(),
            "403": PermissionDenied(),
            "400": ValidationError({"name": ["Too long."]}),
            "429": exceptions.Throttled(),
        }[how]


async def test_arguments_are_checked_against_the_method() -> None:
    async with Client(OwnConsumer) as client:
        good = await client.ask("strict", number=1)
        missing = await client.ask("strict")
        unknown = await client.ask("strict", number=1, colour="red")

    assert told(good) == ("strict", 200, {"number": 1}, [])
    assert missing["errors"] == [{"number": ["This field is required."]}]
    assert unknown["errors"] == [{"colour": ["This field is not expected."]}]
    assert {missing["response_status"], unknown["response_status"]} == {400}


async def test_actions_may_have_another_name_and_answer_by_themselves() -> None:
    async with Client(OwnConsumer) as client:
        named = await client.ask("other-name")
        await client.send(action="silent", request_id=1)

        assert told(named) == ("other-name", 202, "other-name", [])
        assert await client.next() == {"own": True}
        assert await client.nothing()


@pytest.mark.parametrize("name", ["fail", "unpackable", "unserialisable"])
async def test_a_bug_is_a_500_and_a_log_line(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(OwnConsumer) as client:
        answer = await client.ask(name)

        assert told(answer) == (name, 500, None, ["Internal server error"])
        assert f"The action {name!r} failed." in caplog.text
        assert await client.nothing()


async def test_an_own_handling_of_errors_may_fail() -> None:
    class Consumer(OwnConsumer):
        async def handle_exception(self, exc: Exception, *args: Any, **kw: Any) -> None:
            raise exc

    async with Client(Consumer) as client:
        answer = await client.ask("fail")

        assert told(answer) == ("fail", 500, None, ["Internal server error"])
        assert await client.nothing()


@pytest.mark.parametrize(
    ("how", "status", "errors"),
    [
        ("404", 404, ["Not found"]),
        ("gone", 404, ["Not found"]),
        ("403", 403, ["You do not have permission to perform this action."]),
        ("400", 400, [{"name": ["Too long."]}]),
        ("429", 429, ["Request was throttled."]),
    ],
)
async def test_exceptions_of_django_and_drf_have_their_status(
    how: str, status: int, errors: list[Any]
) -> None:
    async with Client(OwnConsumer) as client:
        answer = await client.ask("refuse", how=how)

    assert told(answer) == ("refuse", status, None, errors)


async def test_detached_actions_run_beside_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = {"first": asyncio.Event(), "second": asyncio.Event()}
    async with Client(OwnConsumer, events=events) as client:
        for name in events:
            await client.send(action="wait_beside", request_id=name, name=name)
        assert await client.nothing()
        events["second"].set()
        assert (await client.next())["data"] == "second"
        events["first"].set()
        assert (await client.next())["data"] == "first"
        failed = await client.ask("fail_beside")

    assert failed["response_status"] == 500
    assert "a bug beside" in caplog.text


async def test_detached_methods_run_beside_everything() -> None:
    async with Client(OwnConsumer) as client:
        await client.send(action="start", request_id=1)
        messages = [await client.next(), await client.next()]

    assert {"later": True} in messages


async def test_an_action_may_end_the_connection() -> None:
    async with Client(OwnConsumer) as client:
        await client.send(action="hang_up")

        assert await client.next() == {"bye": True}
        end = await client.communicator.receive_output(PATIENCE)
        assert end == {"type": "websocket.close", "code": 4001}


async def test_atomic_actions_are_undone_when_they_fail() -> None:
    class AtomicConsumer(AsyncAPIConsumer):
        @action(atomic=True)
        def create_and_fail(self, **kwargs: Any) -> None:
            Person.objects.create(name="Ann")
            raise exceptions.ValidationError("no")

        @action(atomic=False)
        def in_transaction(self, **kwargs: Any) -> Any:
            return transaction.get_connection().in_atomic_block, 200

    async with Client(AtomicConsumer) as client:
        answer = await client.ask("create_and_fail")
        plain = await client.ask("in_transaction")

    assert answer["response_status"] == 400
    assert plain["data"] is False
    assert await Person.objects.acount() == 0


def test_impossible_actions_are_refused_at_start() -> None:
    with pytest.raises(DecoratorError, match="cannot run in a transaction"):

        @action(atomic=True)
        async def one(self: Any) -> None: ...

    with pytest.raises(DecoratorError, match="cannot be detached"):

        @action(detached=True)
        def two(self: Any) -> None: ...

    with pytest.raises(DecoratorError, match="cannot be detached"):

        @detached
        def three(self: Any) -> None: ...


async def test_an_action_hides_no_attribute_of_a_consumer() -> None:
    """Regression: such an action was answered with 500."""
    plain: set[str] = set()

    class PlainConsumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            plain.update(name for name in vars(self) if not name.startswith("_"))
            await super().connect()

    async with Client(PlainConsumer):
        pass
    for name in plain:

        def method(self: Any) -> None: ...

        method.__name__ = name
        with pytest.raises(DecoratorError, match=f"action\\(name='{name}'\\)"):
            type("OwnConsumer", (AsyncAPIConsumer,), {name: action()(method)})


def test_a_misspelt_option_of_an_action_is_refused() -> None:
    with pytest.raises(DecoratorError, match="'atomik': do you mean 'atomic'"):
        action(atomik=True)


async def test_pages_may_come_by_themselves() -> None:
    class Pages(WebsocketLimitOffsetPagination):
        default_limit = 2

    class StreamedConsumer(StreamedPaginatedListMixin, GenericAsyncAPIConsumer):
        queryset = Person.objects.order_by("id")
        serializer_class = PersonConsumer.serializer_class
        pagination_class = Pages

    class PagedConsumer(PaginatedModelListMixin, GenericAsyncAPIConsumer):
        queryset = Person.objects.order_by("id")
        serializer_class = PersonConsumer.serializer_class

    for name in ("Ann", "Bob", "Cid"):
        await Person.objects.acreate(name=name)
    async with Client(StreamedConsumer) as client:
        first = await client.ask("list", request_id=1)
        second = await client.next()
        assert await client.nothing()
    async with Client(PagedConsumer) as client:
        whole = await client.ask("list")

    pages = [[row["name"] for row in m["data"]["results"]] for m in (first, second)]
    assert pages == [["Ann", "Bob"], ["Cid"]]
    assert second["request_id"] == 1
    assert len(whole["data"]) == 3


async def test_each_further_page_counts_as_a_frame() -> None:
    """Regression: one frame brought about any number of queries."""

    class StreamedConsumer(StreamedPaginatedListMixin, GenericAsyncAPIConsumer):
        queryset = Person.objects.order_by("id")
        serializer_class = PersonConsumer.serializer_class
        pagination_class = WebsocketLimitOffsetPagination

        async def connect(self) -> None:
            budgets.append(self.visitor.budget)
            await super().connect()

    def charge(budget: ConnectionBudget, what: Any, amount: int) -> None:
        if budget in budgets:
            charged.append((what, amount))
        known(budget, what, amount)

    budgets: list[ConnectionBudget] = []
    charged: list[tuple[str, int]] = []
    known = ConnectionBudget.charge
    for name in ("Ann", "Bob", "Cid"):
        await Person.objects.acreate(name=name)
    with patch.object(ConnectionBudget, "charge", charge):
        async with Client(StreamedConsumer) as client:
            await client.ask("list", request_id=1, limit=1)
            pages = [(await client.next())["data"]["offset"] for _ in range(2)]
            assert await client.nothing()

    assert pages == [1, 2]
    # What is read: the list, the ping of nothing(), and that the client has left.
    assert charged == [("frames", 1)] * (3 + len(pages))


async def test_subscriptions_are_limited() -> None:
    ann = await Person.objects.acreate(name="Ann")
    with override_settings(TURBO={"MAX_STREAMS": 2}):
        async with Client(PersonConsumer) as client:
            answers = [
                await client.ask("subscribe_instance", pk=ann.pk) for _ in range(3)
            ]

    assert [answer["response_status"] for answer in answers] == [201, 201, 429]
    assert answers[2]["errors"] == ["A connection holds at most 2 subscriptions."]
