"""What a stranger types is answered and fills no log; bugs are logged once a minute."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import pytest

from tests.observers.app.consumers import (
    ArticleConsumer,
    FilteredConsumer,
    PersonConsumer,
    SeatConsumer,
    TokenConsumer,
)
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.observers.live import APPLICATION, MakeProject, live_settings, socket
from tests.observers.test_sharing import ByTeam
from turbo import metrics
from turbo.observers import AsyncAPIConsumer, Multiplexer, action
from turbo.runtime.failures import KEPT, FailureLog

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

JUNK: list[Any] = [
    None,
    [],
    [1, 2, 3],
    {},
    {"a": 1},
    "",
    "x",
    "\x00",
    "\ud800",
    True,
    1.5,
    1e300,
    10**30,
    -(10**4_000),
    [[]],
    {"in": [1]},
]


class TeamFilterConsumer(PersonConsumer):
    filter_backends = (ByTeam,)


CONSUMERS: list[tuple[Any, str]] = [
    (PersonConsumer, "pk"),
    (TokenConsumer, "pk"),
    (SeatConsumer, "pk"),
    (ArticleConsumer, "slug"),
]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize(("consumer", "key"), CONSUMERS)
async def test_keys_of_any_type_are_answered(
    consumer: Any, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(consumer) as client:
        for name in ("retrieve", "subscribe_instance", "unsubscribe_instance"):
            for value in JUNK:
                answer = await client.ask(name, **{key: value})

                assert answer["response_status"] in (204, 400, 404), (name, value)

    assert errors(caplog) == []


@pytest.mark.parametrize("consumer", [FilteredConsumer, TeamFilterConsumer])
async def test_queries_of_any_type_are_answered(
    consumer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(consumer) as client:
        for name in ("list", "subscribe_list"):
            for value in JUNK:
                for given in ({"query": value}, {"query": {"team": value}}):
                    answer = await client.ask(name, **given, request_id=1)

                    assert answer["response_status"] in (200, 201, 400), given
        missing = await client.ask("list")
        many = {str(number): 1 for number in range(2_000)}
        answer = await client.ask("list", query=many)

    assert answer["response_status"] == 400
    if consumer is TeamFilterConsumer:
        assert missing["errors"] == [{"team": ["This field is required."]}]
    assert errors(caplog) == []


async def test_unknown_actions_and_nested_data_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = '{"action":"create","request_id":1,"data":' + "[" * 800 + "]" * 800 + "}"
    async with Client(PersonConsumer) as client:
        for name in ("x", "\x00", "__class__", "send_json", "a" * 5_000, "get_object"):
            answer = await client.ask(name, pk=1)
            assert answer["response_status"] == 405
        for name in ("create", "update", "patch"):
            for value in JUNK:
                answer = await client.ask(name, pk=1, data=value)
                assert answer["response_status"] in (400, 404), (name, value)
        await client.send_text(text)
        assert (await client.next())["response_status"] == 400

    assert errors(caplog) == []
    assert await Person.objects.acount() == 0


class BuggyConsumer(AsyncAPIConsumer):
    @action()
    async def one(self, number: Any = 0, **kwargs: Any) -> Any:
        raise RuntimeError(f"a bug {number}")

    @action()
    async def two(self, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    async def get_action_name(self, content: Any, **kwargs: Any) -> Any:
        if content["action"].startswith("made up"):
            raise LookupError("a bug in front")
        return await super().get_action_name(content, **kwargs)


async def test_a_bug_is_logged_once_a_minute_for_each_action(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = metrics.counters()["failed"]
    async with Client(BuggyConsumer) as client:
        for number in range(20):
            for name in ("one", "two", f"made up {number}"):
                answer = await client.ask(name, number=number)
                assert answer["response_status"] == 500

    assert errors(caplog) == [
        "The action 'one' failed.",
        "The action 'two' failed.",
        "An action or an event failed.",
    ]
    assert caplog.text.count("Traceback") == 3
    assert metrics.counters()["failed"] - before == 60


async def test_a_consumer_behind_a_multiplexer_is_logged_as_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Consumer(AsyncAPIConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            raise RuntimeError("a bug")

    class Several(Multiplexer):
        consumers: ClassVar = {"one": Consumer}

    async with Client(Several) as client:
        for number in range(10):
            await client.send(stream="one", payload={"request_id": number})
            assert (await client.next())["payload"]["response_status"] == 500

    assert errors(caplog) == ["The consumer of the stream 'one' failed."]


def test_the_next_one_says_how_many_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moments = iter((0.0, 1.0, 59.0, 60.0, 61.0, 200.0, 300.0))
    log = FailureLog(clock=lambda: next(moments))
    for _ in range(7):
        log.add("It failed.", failure())

    assert errors(caplog) == [
        "It failed.",
        "It failed. It happened 2 more times since.",
        "It failed. It happened 1 more times since.",
        "It failed.",
    ]


def test_what_is_remembered_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog(clock=lambda: 0.0)
    for number in range(KEPT + 1):
        log.add(f"{number} failed.", failure())
    caplog.clear()
    log.add("1 failed.", failure())
    log.add("0 failed.", failure())

    assert errors(caplog) == ["0 failed."]


def failure() -> Exception:
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        return error


def test_postgres_refuses_what_sqlite_takes(
    make_project: MakeProject, daphne: Any
) -> None:
    project = make_project("redis", database="postgres", **live_settings())
    server = daphne(project, application=APPLICATION)
    with socket(server, "/ws/people/") as client:
        for value in JUNK:
            for name in ("retrieve", "subscribe_instance"):
                answer = client.ask(action=name, request_id=1, pk=value)
                assert answer["response_status"] != 500, (name, value)
        named = client.ask(action="create", request_id=2, data={"username": "\x00"})

    assert named["response_status"] == 400
    assert "Traceback" not in server.log()
