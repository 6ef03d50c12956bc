"""
What clients send: valid frames, nearly valid ones, and anything else.

Words like ``$mine$`` stand for what only a running test knows: a key, a signed name, a
position. They are replaced when the frame is sent, so a frame that fails reads well and
means the same in the next run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.names import names_in_the_call_path

__all__ = ["ARGUMENTS", "JUNK", "NAMES", "Frame", "conversations", "dicts", "fill"]

#: Text or bytes, as they go over the wire.
Frame: TypeAlias = str | bytes

NAMES = names_in_the_call_path()
#: Names that the library, Django or Python give a meaning to.
HOT = [
    *("action", "args", "consumer", "data", "event", "instance", "kwargs", "method"),
    *("obj", "payload", "permission_classes", "pk", "query", "request", "request_id"),
    *("scope", "self", "session", "since", "snapshot", "stream", "streams", "type"),
    *("user", "view", "is_staff", "is_superuser", "is_authenticated", "version"),
    *("__class__", "__dict__", "__init__", "__proto__", "pk__in", "name__regex"),
    *("limit", "offset", "ordering", "search", "page", "format"),
]
TEXTS = [
    *("", "\x00", "\ud800", "a\udfffb", "\u2028", "é" * 300, "x" * 3_000, " ", "%s%n"),
    *(
        "GET",
        "HEAD",
        "retrieve",
        "list",
        "true",
        "null",
        "1e400",
        "NaN",
        "-1",
        "1" * 99,
    ),
    *("?", "@1", "@1.-", ":", "e:1", "e:-1", "x:99999999999999999", "e:1@5.-", "٣:٣"),
    *("admin", "__all__", "../..", "' OR 1=1 --", "<script>", "{{ 7|add:7 }}", "a:b:c"),
]
NUMBERS = [0, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 5e-324]
NOT_FINITE = [float("nan"), float("inf"), float("-inf")]

NAME = st.sampled_from(HOT) | st.sampled_from(NAMES)
KEYS = st.one_of(NAME, NAME, st.text(max_size=6), st.sampled_from(TEXTS))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(NUMBERS),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
    st.text(st.characters(codec=None), max_size=6),
    NAME,
)


def _nested(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ANY_JSON = st.one_of(
    SCALARS,
    st.recursive(SCALARS, _nested, max_leaves=6),
    st.sampled_from([60, 90, 400]).map(_deep),
)
#: Also numbers that Python writes as if they were JSON.
JUNK = st.one_of(ANY_JSON, ANY_JSON, st.sampled_from(NOT_FINITE))
#: Arguments under the names of the call path.
ARGUMENTS = st.dictionaries(KEYS, ANY_JSON, max_size=4)


def dicts(
    optional: Mapping[str, SearchStrategy[Any]] | None = None,
    /,
    **required: SearchStrategy[Any] | str,
) -> SearchStrategy[dict[str, Any]]:
    """Return a strategy of objects; a text among the values stands for itself."""
    given = {
        name: st.just(value) if isinstance(value, str) else value
        for name, value in required.items()
    }
    return st.fixed_dictionaries(given, optional=dict(optional or {}))


def _places(value: Any, depth: int = 8) -> Iterable[Any]:
    """Return a value's objects and lists, itself among them."""
    if depth and isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _places(inner, depth - 1)


@st.composite
def nearly(draw: DrawFn, valid: SearchStrategy[Any]) -> Any:
    """Return a valid value in which a little was changed."""
    value = draw(valid)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(_places(value)) or [[]]))
        step = draw(st.sampled_from(["put", "change", "change", "drop"]))
        if isinstance(place, list):
            _change_list(draw, place, step)
        elif step == "put" or not place:
            place[draw(KEYS)] = draw(JUNK)
        elif step == "change":
            place[draw(st.sampled_from(list(place)))] = draw(JUNK)
        else:
            del place[draw(st.sampled_from(list(place)))]
    return value


def _change_list(draw: DrawFn, place: list[Any], step: str) -> None:
    if step == "put" or not place:
        place.append(draw(JUNK))
    elif step == "change":
        place[draw(st.integers(0, len(place) - 1))] = draw(JUNK)
    else:
        place.pop()


def _dumped(value: Any) -> SearchStrategy[str]:
    plain = json.dumps(value)
    try:
        wide = json.dumps(value, ensure_ascii=False)
        wide.encode()
    except UnicodeEncodeError:
        return st.just(plain)
    return st.sampled_from([plain, wide, f" {plain}\r\n"])


RAW_TEXTS = [
    *("", " ", "{", "[]", "{}", "null", "0", "NaN", '"x"', "\ufeff{}", "{'a':1}", "[1"),
    *("[" * 60_000, '{"a":' * 9_000, "1" * 5_000, '{"request_id":1e999}', "x" * 70_000),
    *('{"type":"ping","type":[]}', '{"action":"ping"}{"action":"ping"}', '{"ping":1}x'),
    *('{"action":"ping","request_id":1e999}', '{"version":1' + "0" * 5_000 + "}"),
]
RAW: SearchStrategy[Frame] = st.one_of(
    st.sampled_from(RAW_TEXTS),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.sampled_from([b"", b"{}", b'{"type":"ping"}', b"\xff\xfe", b"\x00" * 1_000]),
)


def conversations(
    valid: Sequence[SearchStrategy[Any]], *, size: int = 8
) -> SearchStrategy[list[Frame]]:
    """Return what a client sends over one connection."""
    right = st.one_of(*valid)
    values = st.one_of(right, right, nearly(right), nearly(right), nearly(right), JUNK)
    frame = st.one_of(values.flatmap(_dumped), values.flatmap(_dumped), RAW)
    return st.lists(frame, min_size=1, max_size=size)


def fill(frame: Frame, words: Mapping[str, Any]) -> Frame:
    """Put what the words of a frame stand for in their places."""
    if isinstance(frame, bytes):
        return frame
    for word, value in words.items():
        quoted = f'"${word}$"'
        if quoted in frame:
            frame = frame.replace(quoted, json.dumps(value))
    return frame
