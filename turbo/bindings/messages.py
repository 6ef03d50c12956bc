"""
The messages to and from JSON clients.

Every message has the consumer's ``event`` and an ``action``. ``keys`` are the primary
keys of the rows in ``payload``, and ``index`` is the new position of a single row::

    ← {"event":"scores","action":"sync","version":"k3:7","page":1,"pages":2,
       "keys":[4,1],"payload":[{…},{…}]}
    ← {"event":"scores","action":"sync","version":"k3:7","payload":"ok"}
    ← {"event":"scores","action":"create","version":"k3:8","keys":[9],"payload":[{…}],
       "index":0}
    ← {"event":"scores","action":"update","version":"k3:9","keys":[4],"payload":[{…}],
       "index":2}
    ← {"event":"scores","action":"delete","version":"k3:10","keys":[1],
       "payload":[{"pk":1}]}
    ← {"event":"scores","action":"order","version":"k3:11","keys":[4,9]}
    ← {"event":"scores","action":"denied","reason":"forbidden"}
    ← {"event":"scores","action":"error","reason":"malformed","detail":"…"}
    ← {"event":"scores","action":"ping"}
    → {"version":"k3:7"}        what have I missed?
    → {"ping":true}             ← {"event":"scores","action":"pong"}
    → {"disconnect":true}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from turbo.bindings.store.versions import Version
from turbo.changes.rows import dump
from turbo.delivery.client_json import decode
from turbo.delivery.frame import Frame
from turbo.delivery.unreadable import Unreadable, json_object, require
from turbo.exceptions import FrameError

__all__ = [
    "Signal",
    "change_frame",
    "group_frame",
    "message",
    "parse_request",
    "read_change",
    "sync_messages",
]


#: Characters of rows in one page, unless a single row has more.
PAGE_BYTES = 262_144


def message(event: str, action: str, **fields: Any) -> str:
    """
    Return a message of an action.

    >>> message("scores", "pong")
    '{"event":"scores","action":"pong"}'
    """
    return dump({"event": event, "action": action, **fields})


@lru_cache(maxsize=1_024)
def change_frame(event: str, version: Version, change: str) -> Frame:
    """
    Return the frame for a change from the store's log, the same for all clients.

    >>> change_frame("scores", Version("k3", 10), '{"action":"delete","pk":1}').text
    '{"event":"scores","action":"delete","version":"k3:10","keys":[1],"payload":[{"pk":1}]}'
    """
    given = read_change(change)
    action = given["action"]
    told: dict[str, Any] = {"version": str(version)}
    if action == "order":
        return Frame(message(event, action, **told, keys=given["order"]))
    told["keys"] = [given["pk"]]
    if action == "delete":
        return Frame(message(event, action, **told, payload=[{"pk": given["pk"]}]))
    told |= {"payload": [given["value"]], "index": given["index"]}
    return Frame(message(event, action, **told))


@lru_cache(maxsize=1_024)
def group_frame(event: str, data: str) -> Frame:
    """
    Return the frame for a message to a group, the same for all clients.

    >>> group_frame("scores", '{"action":"notice","payload":"Hi"}').text
    '{"event":"scores","action":"notice","payload":"Hi"}'
    """
    given = json_object(data)
    require(given, action=str)
    return Frame(message(event, given["action"], payload=given.get("payload")))


def read_change(change: str) -> dict[str, Any]:
    """Return a change from the store's log, or raise :exc:`Unreadable`."""
    given = json_object(change)
    match given:
        case {"action": "order", "order": [*_]}:
            return given
        case {"action": "delete", "pk": _}:
            return given
        case {"action": "create" | "update", "pk": _, "value": _, "index": _}:
            return given
    raise Unreadable(f"{change:.200}")


def sync_messages(
    event: str,
    version: str,
    texts: Mapping[str, str],
    *,
    page_size: int,
    page_bytes: int = PAGE_BYTES,
) -> Iterator[str]:
    """
    Yield pages with all rows; ``texts`` has their values by their keys, both as JSON.

    A page has at most ``page_size`` rows, and fewer if they are large.

    >>> list(sync_messages("scores", "k3:7", {"4": "{}"}, page_size=25))
    ['{"event":"scores","action":"sync","version":"k3:7","page":1,"pages":1,\
"keys":[4],"payload":[{}]}']
    """
    pages = list(_pages(texts, page_size, page_bytes))
    for page, rows in enumerate(pages, 1):
        head = message(
            event, "sync", version=version, page=page, pages=len(pages)
        ).removesuffix("}")
        keys, payload = ",".join(rows), ",".join(texts[key] for key in rows)
        yield f'{head},"keys":[{keys}],"payload":[{payload}]}}'


def _pages(
    texts: Mapping[str, str], page_size: int, page_bytes: int
) -> Iterator[list[str]]:
    """Yield the keys of each page; without rows, yield one empty page."""
    page: list[str] = []
    size = 0
    for key, text in texts.items():
        if page and (len(page) >= page_size or size + len(text) > page_bytes):
            yield page
            page, size = [], 0
        page.append(key)
        size += len(text)
    yield page


@dataclass(frozen=True, slots=True)
class Signal:
    """A message from the hub; ``kind`` is ``message``, ``gap`` or ``ping``."""

    kind: str
    stream: str
    data: str

    @classmethod
    def of(cls, frame: Frame) -> Signal:
        """Return the signal in a frame, which is parsed once for all clients."""
        signal: Signal = frame.wire("turbo.bindings", cls._parse)
        return signal

    @classmethod
    def _parse(cls, text: str) -> Signal:
        frame = json.loads(text)
        return cls(frame["type"], frame.get("stream", ""), frame.get("data", ""))


def parse_request(text: str | None, *, limit: int) -> dict[str, Any]:
    """Return the object that a client has sent."""
    request = decode(text, limit=limit)
    if not request.keys() & {"disconnect", "ping", "version"}:
        raise FrameError(
            "unknown_type", "A message has 'version', 'ping' or 'disconnect'."
        )
    if not isinstance(request.get("version"), str | None):
        raise FrameError("invalid", "'version' is a string.")
    if "version" not in request and not (
        request.get("ping") or request.get("disconnect")
    ):
        raise FrameError("invalid", "'ping' and 'disconnect' are true.")
    return request
