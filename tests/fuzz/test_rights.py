"""
No client changes what a permission is asked, nor what it answers.

A random search over keys and values of messages and URLs. The keys are all names that
the code between a client and a permission knows, and new ones come in by themselves.
What somebody may not do is refused however they ask for it, and what somebody may do is
not refused; and whoever decides was told who it is, not what the client made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import override_settings
from hypothesis import strategies as st
from rest_framework import permissions as drf

from tests.fuzz.frames import ARGUMENTS, HOT, NAME, NAMES, TEXTS, dicts, fill
from tests.fuzz.peers import Closed, InProcess
from tests.fuzz.protocols import POSITIONS, actions_of, arguments_of, read
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import (
    SECRET,
    ClosedBindingConsumer,
    MyConsumer,
    OnlyStaff,
    World,
)
from tests.observers.app.consumers import PersonConsumer
from turbo.consumers import TurboStreamsConsumer
from turbo.observers import BasePermission, Multiplexer
from turbo.observers.wire.requests import RESERVED
from turbo.pubsub.consumers import PubSubConsumer
from turbo.typing import ASGIApplication

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.slow,
]

#: Each name once: those that mean something alone, the others with their neighbours.
EVERY_NAME: list[dict[str, Any]] = [
    {name: value}
    for name in sorted({*HOT, *RESERVED} - {"action", "request_id"})
    for value in (True, "GET", {"is_staff": True})
]
_OTHERS = [name for name in NAMES if name not in {*HOT, *RESERVED}]
EVERY_NAME += [
    dict.fromkeys(_OTHERS[start : start + 25], True)
    for start in range(0, len(_OTHERS), 25)
]
QUERIES = st.dictionaries(
    NAME, st.sampled_from([text for text in TEXTS if text.isascii()]), max_size=3
)
Message = dict[str, Any]


def every_name(make: Callable[[Message], Message]) -> list[tuple[Message, Any]]:
    """Return conversations in which each name occurs once."""
    frames = [make(arguments) for arguments in EVERY_NAME]
    return [({}, frames[start : start + 50]) for start in range(0, len(frames), 50)]


class Case:
    """One who may, or one who may not, and what those were told who decide."""

    def __init__(self, world: World, *, staff: bool) -> None:
        self.may = staff
        self.user = world.owner if staff else world.stranger
        self.words = world.words() | {
            "staff": OnlyStaff().sign(self.user),
            "admission": world.admission_of(self.user),
        }
        self.asked: list[Any] = []

    def connect(self, application: ASGIApplication, query: dict[str, str]) -> InProcess:
        return InProcess(application, f"/ws/?{urlencode(query)}", self.user)

    def fill(self, message: Message) -> str:
        return str(fill(json.dumps(message), self.words))


@pytest.fixture(params=[False, True], ids=["stranger", "staff"])
def case(request: pytest.FixtureRequest, world: World) -> Case:
    return Case(world, staff=request.param)


@pytest.fixture
def note(case: Case, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Note what the tests of the test project's own classes are asked."""

    def note(cls: type[Any]) -> None:
        test = cls.user_passes_test

        def user_passes_test(self: Any, *given: Any, **more: Any) -> bool:
            case.asked.append((given, more))
            return bool(test(self, *given, **more))

        monkeypatch.setattr(cls, "user_passes_test", user_passes_test)

    return note


@pytest.mark.parametrize("layer", ["memory"], indirect=True)
def test_pages(layer: str, case: Case, note: Callable[..., None]) -> None:
    note(OnlyStaff)
    wanted = st.builds(
        lambda more, given: {**more, **given},
        ARGUMENTS,
        dicts({"since": POSITIONS}, name="$staff$"),
    )
    frames = st.builds(
        lambda more, streams: {**more, "type": "subscribe", "streams": streams},
        ARGUMENTS,
        st.lists(wanted, min_size=1, max_size=2),
    )

    async def check(given: tuple[dict[str, str], list[Message]]) -> None:
        query, sent = given
        application = TurboStreamsConsumer.as_asgi()
        with watching():
            async with case.connect(application, query) as peer:
                for frame in sent:
                    await peer.send(case.fill(frame))
                    answer = read(await peer.next())
                    granted = answer["type"] == "subscribed"
                    is_invalid = answer.get("reason") == "invalid"
                    assert is_invalid or granted == case.may, (frame, answer)
                    assert granted or is_invalid or answer["reason"] == "forbidden"
            await no_tasks_stay()
        assert case.asked
        assert all(asked == ((case.user,), {}) for asked in case.asked)

    first = every_name(
        lambda more: {
            **more,
            "type": "subscribe",
            "streams": [{**more, "name": "$staff$", "since": ""}],
        }
    )
    strategy = st.tuples(QUERIES, st.lists(frames, min_size=1))
    search(check, strategy, examples=40, first=first)


@pytest.mark.parametrize("layer", ["memory"], indirect=True)
def test_bindings(layer: str, case: Case, note: Callable[..., None]) -> None:
    note(ClosedBindingConsumer)
    frames = st.builds(
        lambda more, given: {**more, **given, "disconnect": False},
        ARGUMENTS,
        dicts({"version": POSITIONS, "ping": st.booleans()}),
    )

    async def check(given: tuple[dict[str, str], list[Message]]) -> None:
        query, sent = given
        application = ClosedBindingConsumer.as_asgi()
        with watching():
            async with case.connect(application, query) as peer:
                for frame in sent:
                    await peer.send(case.fill(frame))
                said = [message async for message in told(peer, len(sent))]
            await no_tasks_stay()
        expected = {"sync"} if case.may else {"denied"}
        assert {m["action"] for m in said} - {"pong", "error"} == expected, said
        assert SECRET not in str(said)
        assert case.asked
        assert all(asked == ((case.user,), {}) for asked in case.asked)

    first = every_name(lambda more: {"version": "", **more, "disconnect": False})
    search(check, st.tuples(QUERIES, st.lists(frames)), examples=40, first=first)


async def told(peer: InProcess, frames: int) -> Any:
    """Yield what is said until all frames were answered, or the server has closed."""
    ends = 0
    await peer.send("{}")
    while ends <= frames:
        try:
            message = read(await peer.next())
        except Closed as closed:
            if closed.code != 4403:
                raise
            return
        yield message
        is_end = message.get("reason") == "unknown_type"
        ends = frames + 1 if is_end else ends


@pytest.fixture
def guarded(layer: str) -> Iterator[None]:
    """Let the staff alone hear of changes."""
    hello = ["tests.pubsub.shop.listening.hello"]
    pubsub = {"ACCESS": "staff", "HELLO_MESSAGES": hello, "TOKEN_TIMEOUT": 3_600}
    with override_settings(TURBO={"PUBSUB": pubsub}):
        yield


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
def test_pubsub(guarded: None, case: Case) -> None:
    tokens = st.sampled_from(["$admission$", "x", ""])
    frames = st.builds(
        lambda more, token, kind: {**more, "token": token, "type": kind},
        ARGUMENTS,
        tokens,
        st.sampled_from(["authenticate", "ping"]) | NAME,
    )

    async def check(given: tuple[dict[str, str], list[Message]]) -> None:
        query, sent = given
        said: list[Message] = []
        with watching():
            async with case.connect(PubSubConsumer.as_asgi(), query) as peer:
                for frame in sent:
                    await peer.send(case.fill(frame))
                await peer.send('{"type":"the end"}')
                try:
                    while "neither" not in said[-1].get("detail", "") if said else True:
                        said.append(read(await peer.next()))
                except Closed as closed:
                    if closed.code != 4403:
                        raise
            await no_tasks_stay()
        greeted = {"hello": case.user.username} in said
        assert greeted == case.may, said
        assert case.may or not any(m.get("type") == "authenticated" for m in said)

    first = every_name(lambda more: {"type": "ping", **more})
    search(check, st.tuples(QUERIES, st.lists(frames)), examples=30, first=first)


# --- Observers behind a multiplexer


class Staff(BasePermission):
    """Lets the staff do everything, and notes what it is asked."""

    asked: list[Any]

    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        self.asked.append((scope["user"], action, "event" in kwargs))
        return bool(scope["user"].is_staff)


class ReadOnly(drf.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return request.method in drf.SAFE_METHODS


class Native(MyConsumer):
    permission_classes = (Staff,)


class Foreign(PersonConsumer):
    permission_classes = (drf.IsAdminUser,)


class Mixed(PersonConsumer):
    permission_classes = (drf.IsAdminUser | ReadOnly,)


class Guarded(Multiplexer):
    consumers = {"native": Native, "foreign": Foreign, "mixed": Mixed}  # noqa: RUF012


#: What nobody but the staff may do there.
ACTIONS = {
    "native": actions_of(Native),
    "foreign": [name for name in actions_of(Foreign) if name != "ping"],
    "mixed": ["create", "update", "patch", "delete"],
}
ASKED = st.sampled_from(
    [(stream, name) for stream, names in ACTIONS.items() for name in names]
)


def message(
    asked: tuple[str, str], outer: Message, more: Message, known: Message
) -> Message:
    """Return a message that asks for somebody else's row."""
    kept = {"pk": "$theirs$", "data": {"name": "Eve"}}
    payload = {**kept, **more, **known, "action": asked[1]}
    return {**outer, "stream": asked[0], "payload": payload}


MESSAGES = st.builds(
    message,
    ASKED,
    ARGUMENTS,
    ARGUMENTS,
    st.fixed_dictionaries({}, optional=arguments_of(Native)),
)


@pytest.mark.parametrize("layer", ["memory"], indirect=True)
def test_observers(
    layer: str, world: World, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Staff, "asked", case.asked, raising=False)

    async def check(given: tuple[dict[str, str], list[Message]]) -> None:
        query, sent = given
        with watching():
            async with case.connect(Guarded.as_asgi(), query) as peer:
                for number, message in enumerate(sent):
                    message["payload"]["request_id"] = number
                    await peer.send(case.fill(message))
                    answer = await answer_to(number, peer)
                    status = answer["response_status"]
                    refused = {400, 403} if not case.may else set()
                    assert not refused or status in refused, (message, answer)
                    assert not case.may or status not in (403, 500), (message, answer)
            await no_tasks_stay()
        for user, action, is_event in case.asked:
            assert user == case.user
            assert is_event or action in ACTIONS["native"]
            assert case.may or not is_event
        case.asked.clear()

    first = [
        conversation
        for asked in [("native", "delete"), ("foreign", "patch"), ("mixed", "update")]
        for conversation in every_name(partial(_with_names, asked))
    ]
    search(
        check,
        st.tuples(QUERIES, st.lists(MESSAGES, min_size=1, max_size=8)),
        examples=60,
        first=() if case.may else first,
        before=world.prepare,
        after=lambda: case.may or world.is_untouched(),
    )


def _with_names(asked: tuple[str, str], more: Message) -> Message:
    return message(asked, {**more}, more, {})


async def answer_to(number: int, peer: InProcess) -> Message:
    """Return the answer; events of what was subscribed to may precede it."""
    while True:
        payload: Message = read(await peer.next())["payload"]
        if payload["request_id"] in (number, None):  # which cannot be read has none
            return payload


def test_the_names_are_those_of_the_call_path() -> None:
    """A parameter that is added somewhere is searched from then on."""
    assert set(NAMES) >= RESERVED
    assert {"signed", "since", "token", "user_passes_test", "visitor"} < set(NAMES)
    assert {"is_staff", "query_string", "may_connect", "admit", "kwargs"} < set(NAMES)
    assert {name for name in HOT if name.isidentifier()} - set(NAMES) <= {
        "__proto__",
        "pk__in",
        "name__regex",
    }
