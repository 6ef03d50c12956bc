"""
The protocols, as a client sees them: which frames there are, and what answers what.

After each frame two others are sent, whose answers are known. What comes before these
is the answer to the frame, save for what the server says unasked.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.frames import ARGUMENTS, JUNK, KEYS, NAME, Frame, dicts
from tests.fuzz.peers import Peer
from tests.fuzz.world import MyConsumer, Several

__all__ = ["PROTOCOLS", "Protocol", "value_of"]

Message = dict[str, Any]
#: What the server says at the end of a frame's answers, in this order.
Ends = list[Callable[[Message], bool]]


@dataclass(frozen=True, repr=False)
class Protocol:
    """One protocol, by a name of ``APPLICATIONS``."""

    name: str
    frames: tuple[SearchStrategy[Any], ...]
    #: What is sent after each frame, by what was sent.
    markers: Callable[[Any], list[str]]
    ends: Ends
    is_unasked: Callable[[Message], bool]
    #: Whether a message says that the server has failed.
    is_failure: Callable[[Message], bool]
    #: Valid frames at the end, and what their answers must be like.
    probes: tuple[tuple[Message, Message], ...]
    #: The code with which the server closes after a frame, if that is documented.
    closes: Callable[[Any], int | None] = lambda frame: None
    #: Whether the answer may come after the end, for it comes when it likes.
    is_detached: Callable[[Any], bool] = lambda frame: False

    async def exchange(self, peer: Peer, frame: Frame) -> list[Message]:
        """Send a frame, and return what is said until it has been answered."""
        await peer.send(frame)
        sent = value_of(frame)
        for marker in self.markers(sent):
            await peer.send(marker)
        said: list[Message] = []
        answers: list[Message] = []
        while not self._is_over(answers, sent):
            said.append(read(await peer.next()))
            answers += [said[-1]] * (not self.is_unasked(said[-1]))
        is_answered = len(answers) > len(self.ends) or self.closes(sent)
        assert is_answered, f"{frame!r:.2000} is not answered"
        return said

    def _is_over(self, answers: list[Message], sent: Any) -> bool:
        if self.is_detached(sent):
            [is_end] = self.ends
            return len(answers) > 1 and any(map(is_end, answers))
        last = answers[-len(self.ends) :]
        return len(last) == len(self.ends) and all(
            is_end(message) for is_end, message in zip(self.ends, last, strict=True)
        )

    async def probe(self, peer: Peer, fill: Callable[[Frame], Frame]) -> list[Message]:
        """See to it that valid frames are answered as ever, and return what is said."""
        everything: list[Message] = []
        for frame, expected in self.probes:
            said = await self.exchange(peer, fill(json.dumps(frame)))
            assert any(_has(message, expected) for message in said), (frame, said)
            everything += said
        return everything


def read(text: str) -> Message:
    """Return what the server says, which is JSON that every client can read."""
    text.encode()
    message = json.loads(text, parse_constant=_no_json)
    assert isinstance(message, dict), text
    return message


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def value_of(frame: Frame) -> Any:
    try:
        return json.loads(frame)
    except (ValueError, RecursionError):
        return None


def _of(frame: Any, name: str) -> Any:
    return frame.get(name) if isinstance(frame, dict) else None


def _has(message: Message, expected: Message) -> bool:
    return all(
        _has(message.get(key) or {}, value)
        if isinstance(value, dict)
        else message.get(key) == value
        for key, value in expected.items()
    )


def is_type(*types: str) -> Callable[[Message], bool]:
    return lambda message: message.get("type") in types


# --- Pages

POSITIONS = st.sampled_from(
    ["", "?", "e:1", "e:999999999999999", "@1.-", "@9999999999999999.a", "e:0@5.-", ":"]
)
SIGNED = st.sampled_from(
    [
        *("$announced$", "$lobby$", "$anyone$", "$cellar$", "$staff$", "$foreign$"),
        *("$forged$", "testapp:Announcements", "x", "a:b:c", "::", "\ud800"),
    ]
)
WANTED = dicts({"since": POSITIONS}, name=SIGNED)
PAGES = Protocol(
    "pages",
    (
        dicts(type="subscribe", streams=st.lists(WANTED, min_size=1, max_size=4)),
        dicts(type="unsubscribe", streams=st.lists(SIGNED, min_size=1, max_size=4)),
        dicts(type="ping"),
        st.builds(lambda more: {"type": "subscribe", **more}, ARGUMENTS),
    ),
    markers=lambda frame: ['{"type":"ping"}', "{}"],
    ends=[is_type("pong"), lambda m: m.get("reason") == "unknown_type"],
    is_unasked=is_type("message", "gap", "ping"),
    is_failure=lambda m: m.get("reason") == "unavailable",
    probes=(
        (
            {"type": "subscribe", "streams": [{"name": "$lobby$"}]},
            {"type": "subscribed"},
        ),
        (
            {"type": "subscribe", "streams": [{"name": "$cellar$"}]},
            {"type": "denied", "reason": "forbidden"},
        ),
        (
            {"type": "subscribe", "streams": [{"name": "$staff$"}]},
            {"type": "denied", "reason": "forbidden"},
        ),
        (
            {"type": "subscribe", "streams": [{"name": "$foreign$"}]},
            {"type": "denied", "reason": "foreign"},
        ),
    ),
)

# --- Observers

REQUEST_IDS = st.one_of(
    st.integers(0, 5), st.sampled_from(["a", "", None, 1.5, 2**70, "x" * 255])
)
KEYS_OF_ROWS = st.sampled_from(
    ["$mine$", "$mine$", "$theirs$", "$gone$", "$seat$", "news", "$token$", 0, True]
)
DATA = dicts(
    {
        "name": st.sampled_from(["Eve", "", "x" * 101, "\x00"]) | st.text(max_size=5),
        "active": st.sampled_from([True, "false", 0, None]),
        "team": st.sampled_from([None, 1, "$theirs$", -1]),
        "owner": st.just("$theirs$"),
        "id": st.just("$theirs$"),
    }
)
QUERY = dicts(
    {
        "name": st.text(max_size=4),
        "name__in": st.sampled_from(["a,b", ("a", "b"), ""]),
        "team": st.sampled_from([1, "x", None]),
        "team__isnull": st.sampled_from([True, "maybe"]),
        "active": st.sampled_from([True, "unknown"]),
        "ordering": st.sampled_from(["name", "-name", "owner__password", "pk"]),
        "search": st.text(max_size=4) | st.sampled_from(["\x00", '"', "a b"]),
        "limit": st.sampled_from([1, 0, -1, "x", 2**63]),
        "offset": st.sampled_from([0, 1, -1, 2**63]),
    }
)
#: Every argument that some action takes, and those that the mixins know.
WORTHY: dict[str, SearchStrategy[Any]] = {
    "pk": KEYS_OF_ROWS,
    "slug": KEYS_OF_ROWS,
    "data": DATA,
    "query": QUERY,
    "since": POSITIONS,
    "snapshot": st.booleans(),
    "value": JUNK,
    "which": REQUEST_IDS,
}


def actions_of(*consumers: Any) -> list[str]:
    """Return the names of all actions, those that are added later included."""
    return sorted({name for cls in consumers for name in cls.available_actions})


def arguments_of(*consumers: Any) -> dict[str, SearchStrategy[Any]]:
    """Return the arguments that actions take by name."""
    found = dict(WORTHY)
    for cls in consumers:
        for method in cls.available_actions.values():
            for name in inspect.signature(getattr(cls, method)).parameters:
                found.setdefault(name, JUNK)
    reserved = {"self", "kwargs", "action", "request_id"}
    return {name: value for name, value in found.items() if name not in reserved}


def calls_of(*consumers: Any) -> SearchStrategy[Any]:
    """Return messages that ask for an action."""
    named: dict[str, SearchStrategy[Any]] = {
        "action": st.sampled_from(actions_of(*consumers)),
        "request_id": REQUEST_IDS,
    }
    return st.one_of(
        st.fixed_dictionaries(named, optional=arguments_of(*consumers)),
        st.fixed_dictionaries({**named, "pk": KEYS_OF_ROWS, "data": DATA}),
        st.builds(
            lambda given, more: {**more, **given},
            st.fixed_dictionaries(named, optional=WORTHY),
            ARGUMENTS,
        ),
        st.fixed_dictionaries({**named, "action": NAME}),
    )


END = {"action": "ping", "request_id": "the end of it"}


def _is_event(message: Message) -> bool:
    # Events have the numbers of their subscriptions; only answers are counted on.
    return message.get("action") == "mine" or "events" in message


def _is_detached(call: Any) -> bool:
    return _of(call, "action") == "later"


CALLS = calls_of(MyConsumer)
OBSERVERS = Protocol(
    "observers",
    (CALLS,),
    markers=lambda frame: [json.dumps(END)],
    ends=[lambda m: m.get("request_id") == END["request_id"]],
    is_unasked=_is_event,
    is_failure=lambda m: m.get("response_status") in (500, 503),
    is_detached=_is_detached,
    probes=(
        (
            {"action": "create", "request_id": 1, "data": {"name": "New"}},
            {"response_status": 201, "data": {"name": "New"}},
        ),
        (
            {"action": "retrieve", "request_id": 1, "pk": "$theirs$"},
            {"response_status": 404},
        ),
        (
            {"action": "delete", "request_id": 1, "pk": "$theirs$"},
            {"response_status": 404},
        ),
    ),
)

STREAMS = st.sampled_from([*Several.consumers, *Several.consumers, "unknown", ""])
MANY_CALLS = calls_of(*Several.consumers.values())


def _multiplexed_end(frame: Any) -> list[str]:
    # Consumers answer in their own pace, so the one that was asked says the end.
    stream = frame.get("stream") if isinstance(frame, dict) else None
    is_open = stream in Several.consumers if isinstance(stream, str) else False
    chosen = stream if is_open else "mine"
    return [json.dumps({"stream": chosen, "payload": END})]


MULTIPLEXER = Protocol(
    "multiplexer",
    (
        dicts(stream="mine", payload=CALLS),
        dicts(stream=STREAMS, payload=MANY_CALLS),
        dicts(stream=STREAMS, payload=ARGUMENTS),
        dicts({"more": JUNK}, stream=STREAMS, payload=MANY_CALLS),
    ),
    markers=_multiplexed_end,
    ends=[lambda m: m["payload"].get("request_id") == END["request_id"]],
    is_unasked=lambda m: _is_event(m["payload"]),
    is_failure=lambda m: OBSERVERS.is_failure(m["payload"]),
    is_detached=lambda frame: _is_detached(_of(frame, "payload")),
    probes=(
        *(
            ({"stream": "mine", "payload": asked}, {"payload": expected})
            for asked, expected in OBSERVERS.probes
        ),
        *(
            (
                {"stream": "refused", "payload": {**given, "request_id": 1}},
                {"payload": {"response_status": 403}},
            )
            for given in (
                {"action": "list"},
                {"action": "delete", "pk": "$theirs$"},
                {"action": "subscribe_list", "snapshot": True},
            )
        ),
        (
            {"stream": "closed", "payload": {"action": "list", "request_id": 1}},
            {"payload": {"response_status": 403}},
        ),
        (
            {"stream": "seats", "payload": {"action": "retrieve", "pk": [1, 2]}},
            {"payload": {"response_status": 200}},
        ),
    ),
)

# --- Bindings

VERSIONS = POSITIONS | st.just("$version$")
BINDINGS = Protocol(
    "bindings",
    (
        dicts(version=VERSIONS),
        dicts(ping=st.booleans()),
        dicts(disconnect=st.sampled_from([True, False, 0, ""])),
        dicts({"ping": JUNK, "disconnect": st.just(False)}, version=VERSIONS | JUNK),
        st.dictionaries(
            st.sampled_from(["version", "ping", "disconnect"]) | KEYS, JUNK, min_size=1
        ),
    ),
    markers=lambda frame: ['{"ping":true}', "{}"],
    ends=[
        lambda m: m.get("action") == "pong",
        lambda m: m.get("reason") == "unknown_type",
    ],
    is_unasked=lambda m: m.get("action") in ("create", "update", "delete", "ping"),
    is_failure=lambda m: False,
    probes=(
        ({"version": ""}, {"action": "sync", "page": 2, "pages": 2}),
        ({"version": ""}, {"action": "sync", "payload": "ok"}),
        ({"ping": True}, {"action": "pong"}),
    ),
    closes=lambda frame: 1000 if _of(frame, "disconnect") else None,
)

# --- Pub/sub

TOKENS = st.sampled_from(
    ["$admission$", "$admission$", "x", "\ud800", "a:b:c", "x" * 9]
)
PUBSUB = Protocol(
    "pubsub",
    (
        dicts(type="ping"),
        dicts(type="authenticate", token=TOKENS),
        st.builds(
            lambda more: {"type": "authenticate", "token": "$admission$", **more},
            ARGUMENTS,
        ),
        st.builds(lambda more: {**more, "type": "ping"}, ARGUMENTS),
    ),
    markers=lambda frame: ['{"type":"ping"}', "{}"],
    ends=[is_type("pong"), lambda m: m.get("reason") == "unknown_type"],
    is_unasked=lambda m: "type" not in m or m["type"] == "gap",
    is_failure=lambda m: False,
    probes=(({"type": "ping"}, {"type": "pong"}),),
    closes=lambda frame: 4403 if _of(frame, "type") == "authenticate" else None,
)

PROTOCOLS = (PAGES, OBSERVERS, MULTIPLEXER, BINDINGS, PUBSUB)
