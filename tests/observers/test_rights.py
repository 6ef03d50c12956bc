"""Nothing that a client sends changes what a permission is asked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework import permissions as drf

from tests.fuzz.frames import NAMES
from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.observers.live import APPLICATION, MakeProject, live_settings, socket
from turbo.exceptions import ConfigurationError
from turbo.observers import (
    AsyncAPIConsumer,
    BasePermission,
    IsAuthenticated,
    Multiplexer,
    action,
)
from turbo.observers.wire.requests import RESERVED, TOLD

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class ReadOnly(drf.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return request.method in drf.SAFE_METHODS


class OnlyEvents(BasePermission):
    """Lets strangers be told of changes, and do nothing."""

    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return bool(kwargs.get("event")) or scope["user"].is_authenticated

    async def has_object_permission(
        self, scope: Any, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> bool:
        return bool(kwargs.get("event")) or scope["user"].is_authenticated


class OnlyEventsPlain(BasePermission):
    """The same in a thread."""

    def has_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, event: bool = False, **kwargs: Any
    ) -> bool:
        return event or scope["user"].is_authenticated


#: What lets a stranger connect and read at most.
GUARDS: dict[str, Any] = {
    "read only": drf.IsAuthenticatedOrReadOnly,
    "logged in": IsAuthenticated,
    "drf logged in": ReadOnly | drf.IsAuthenticated,
    "admin": drf.IsAdminUser | ReadOnly,
    "model": drf.DjangoModelPermissionsOrAnonReadOnly,
    "event": OnlyEvents,
    "event in a thread": OnlyEventsPlain,
    "all of them": OnlyEvents & drf.IsAuthenticatedOrReadOnly,
    "not": ~(~IsAuthenticated),
}
WRITES = ("create", "update", "patch", "delete")


def guarded(permission: Any) -> type[PersonConsumer]:
    given = {"permission_classes": (permission,)}
    return type("Guarded", (PersonConsumer,), given)


def multiplexed(consumer: type[Any]) -> type[Multiplexer]:
    return type("Several", (Multiplexer,), {"consumers": {"people": consumer}})


class Wrapped(Client):
    """A client behind a multiplexer."""

    async def send(self, /, **message: Any) -> None:
        await super().send(stream="people", payload=message)

    async def next(self, timeout: float = 5) -> dict[str, Any]:
        payload: dict[str, Any] = (await super().next(timeout))["payload"]
        return payload


def connection(permission: Any, *, wrapped: bool) -> Client:
    consumer = guarded(permission)
    if wrapped:
        return Wrapped(multiplexed(consumer), AnonymousUser())
    return Client(consumer, AnonymousUser())


both_ways = pytest.mark.parametrize("wrapped", [False, True])


@both_ways
@pytest.mark.parametrize("name", GUARDS)
async def test_no_argument_of_a_client_makes_an_action_an_event(
    name: str, wrapped: bool
) -> None:
    """Regression: `"event": true` made `delete` a GET for permissions of DRF."""
    ann = await Person.objects.acreate(name="Ann")
    async with connection(GUARDS[name], wrapped=wrapped) as client:
        for action_name in WRITES:
            for given in ({}, {"event": True}, {"event": 1}, {"event": "retrieve"}):
                answer = await client.ask(
                    action_name, pk=ann.pk, data={"name": "Eve"}, **given
                )

                assert answer["response_status"] == (400 if given else 403)
                assert answer["data"] is None

    assert [person.name async for person in Person.objects.all()] == ["Ann"]


async def test_model_permissions_of_who_is_logged_in() -> None:
    user = await User.objects.acreate(username="user")
    ann = await Person.objects.acreate(name="Ann")
    async with Client(guarded(drf.DjangoModelPermissions), user) as client:
        answer = await client.ask("delete", pk=ann.pk, event=True)
        plain = await client.ask("delete", pk=ann.pk)

    assert (answer["response_status"], plain["response_status"]) == (400, 403)
    assert await Person.objects.acount() == 1


@both_ways
@pytest.mark.parametrize("action_name", [*WRITES, "list", "subscribe_list", "unknown"])
async def test_names_of_the_library_are_refused_by_name(
    action_name: str, wrapped: bool
) -> None:
    async with connection(drf.AllowAny, wrapped=wrapped) as client:
        for name in sorted(RESERVED - {"action", "request_id"}):
            answer = await client.ask(action_name, pk=1, data={}, **{name: True})

            assert answer["response_status"] == 400
            assert answer["errors"] == [{name: ["This field is not expected."]}]
            assert answer["action"] == action_name


async def test_names_are_refused_before_permissions_are_asked() -> None:
    asked: list[str] = []

    class Noting(BasePermission):
        async def has_permission(
            self, scope: Any, consumer: Any, action: str, **kwargs: Any
        ) -> bool:
            asked.append(action)
            return True

    async with Client(guarded(Noting)) as client:
        await client.ask("list", scope={"user": "admin"}, consumer=1)
        await client.ask("list", query={"scope": 1})

    assert asked == ["list"]


async def test_an_action_may_have_an_argument_called_user() -> None:
    class InvitingConsumer(AsyncAPIConsumer):
        @action()
        async def invite(self, user: Any, method: str = "", **kwargs: Any) -> Any:
            return [user, method, sorted(kwargs)], 200

    async with Client(InvitingConsumer) as client:
        answer = await client.ask("invite", user=5, method="mail")
        refused = await client.ask("invite", user=5, request={})

    assert answer["data"] == [5, "mail", ["action", "request_id"]]
    assert refused["errors"] == [{"request": ["This field is not expected."]}]


def test_an_action_cannot_ask_for_what_the_library_says() -> None:
    with pytest.raises(ConfigurationError, match=r"look\(\) .* 'event', 'scope'"):

        class Consumer(AsyncAPIConsumer):
            @action()
            async def look(self, scope: Any, event: Any, **kwargs: Any) -> Any:
                return None, 200


async def test_events_are_get_because_the_library_says_so() -> None:
    seen: list[tuple[str, bool]] = []

    class Noting(drf.BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            seen.append((request.method, "event" in request.query_params))
            return True

    ann = await Person.objects.acreate(name="Ann")
    async with Client(guarded(Noting)) as client:
        await client.ask("subscribe_instance", pk=ann.pk)
        await client.send(
            action="update", request_id=2, pk=ann.pk, data={"name": "Anna"}
        )
        # The answer and the event, in any order.
        assert {(await client.next())["request_id"] for _ in "12"} == {1, 2}

    assert seen == [("HEAD", False), ("GET", False), ("PUT", False), ("GET", False)]


async def test_an_object_is_asked_about_for_the_action_that_runs() -> None:
    """An action that passes nothing on is not taken for `retrieve`."""

    class OwnConsumer(PersonConsumer):
        permission_classes = (NotToRead,)

        @action()
        def empty(self, pk: Any, **kwargs: Any) -> Any:
            self.get_object(pk=pk)
            return None, 200

    ann = await Person.objects.acreate(name="Ann")
    async with Client(OwnConsumer) as client:
        emptied = await client.ask("empty", pk=ann.pk)
        retrieved = await client.ask("retrieve", pk=ann.pk)

    assert emptied["response_status"] == 200
    assert retrieved["response_status"] == 403


class NotToRead(BasePermission):
    async def has_object_permission(
        self, scope: Any, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> bool:
        return action != "retrieve"


# --- A random search

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.text(max_size=5),
        st.sampled_from(["GET", "HEAD", "retrieve", "list", "admin", "true", "\x00"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    ),
    max_leaves=3,
)
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES)
MESSAGES = st.lists(st.tuples(st.sampled_from(WRITES), ARGUMENTS), max_size=15)


@pytest.mark.parametrize("name", GUARDS)
@both_ways
@settings(
    derandomize=True,
    database=None,
    max_examples=12,
    suppress_health_check=list(HealthCheck),
)
@given(messages=MESSAGES)
async def test_no_message_changes_the_answer_of_a_permission(
    name: str, wrapped: bool, messages: list[tuple[str, dict[str, Any]]]
) -> None:
    ann, _ = await Person.objects.aget_or_create(name="Ann")
    async with connection(GUARDS[name], wrapped=wrapped) as client:
        for action_name, given_arguments in messages:
            message = {
                "pk": ann.pk,
                "data": {"name": "Eve"},
                **given_arguments,
                "action": action_name,
                "request_id": 1,
            }
            await client.send(**message)
            answer = await client.next()

            assert answer["response_status"] in (400, 403), (message, answer)

    assert [person.name async for person in Person.objects.all()] == ["Ann"]


def test_the_search_knows_the_names_that_matter() -> None:
    assert set(NAMES) > TOLD | RESERVED
    assert {"event", "method", "scope", "user", "is_staff", "looked"} < set(NAMES)


def parameters(hook: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(hook).parameters.values())


def test_every_parameter_of_a_hook_is_reserved() -> None:
    """What gets a client's arguments has no other parameter that they could name."""
    mine = {"args", "data", "kwargs"}
    without = {"handle_observed_action", "receive"}  # what they get is the server's
    hooks: list[Callable[..., Any]] = [
        getattr(cls, name)
        for cls in (PersonConsumer, BasePermission)
        for name in set(dir(cls)) - without
        if not name.startswith("__")
        and callable(getattr(cls, name))
        and getattr(cls, name).__module__.startswith("turbo.observers")
        and any(str(p).startswith("**kwargs") for p in parameters(getattr(cls, name)))
    ]
    named = {
        parameter.name
        for hook in hooks
        for parameter in parameters(hook)
        if parameter.kind is not parameter.POSITIONAL_ONLY
    }

    assert named - mine <= RESERVED | {"action_kwargs", "content"}


# --- Real servers


@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "fast"])
def test_a_stranger_deletes_nothing_on_a_real_server(
    kind: str, make_project: MakeProject, request: pytest.FixtureRequest
) -> None:
    project = make_project("redis", **live_settings())
    start = request.getfixturevalue("daphne" if kind == "daphne" else "uvicorn")
    options = FAST if kind == "fast" else ()
    server = start(project, *options, application=APPLICATION)
    with socket(server, "/ws/guarded/") as client:
        before = client.ask(action="list", request_id=1)
        direct = [
            client.ask(action=name, request_id=2, pk=1, data=EVE, event=True)
            for name in WRITES
        ]
        after = client.ask(action="list", request_id=3)
    with socket(server, "/ws/guarded/all/") as client:
        payload = {"action": "delete", "request_id": 4, "pk": 1, "event": True}
        through = client.ask(stream="people", payload=payload)["payload"]

    assert [answer["response_status"] for answer in direct] == [400] * len(WRITES)
    assert through["response_status"] == 400
    assert after["data"] == before["data"]
    assert json.dumps(EVE["username"]) not in json.dumps(after)


EVE: dict[str, Any] = {"username": "mallory"}
FAST = ("--ws", "turbo.server:WebSocketProtocol")
