"""
The frames between ``pubsub_server`` and a client, without I/O.

=================  ====================================================================
from the client    ``{"type":"authenticate","token":"…"}`` ``{"type":"ping"}``
from the server    ``{"model":"shop.Topping","action":"saved","pk":1,"data":{…}}``
                   ``authenticated`` ``denied`` ``gap`` ``pong`` ``error``
=================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from turbo.delivery.client_json import decode
from turbo.delivery.protocol import Refused
from turbo.exceptions import FrameError
from turbo.pubsub.message import to_json

__all__ = [
    "AUTHENTICATED",
    "GAP_FRAME",
    "LIMIT",
    "PONG",
    "Authenticate",
    "ClientEvent",
    "Denial",
    "Ping",
    "denied",
    "receive",
]

#: Characters of a token.
MAX_TOKEN = 8_192

AUTHENTICATED = to_json({"type": "authenticated"})
#: Changes may be missing, so the client has to read its data again.
GAP_FRAME = to_json({"type": "gap"})
PONG = to_json({"type": "pong"})
#: The client asks for more than its budget.
LIMIT = to_json(
    {
        "type": "error",
        "reason": "limit",
        "detail": "This is more than one may ask for. Try again in a minute.",
    }
)

#: Why a client may not receive changes.
Denial: TypeAlias = Literal["forbidden", "revoked", "timeout", "token"]


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The client sends its token."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping:
    """The client sends a ping."""


ClientEvent: TypeAlias = Authenticate | Ping | Refused


def denied(reason: Denial) -> str:
    """
    Return the frame before a close with 4403.

    >>> denied("token")
    '{"type":"denied","reason":"token"}'
    """
    return to_json({"type": "denied", "reason": reason})


def receive(text: str | None, *, limit: int) -> ClientEvent:
    """
    Return the event of a frame; ``None`` stands for a binary frame.

    >>> receive('{"type":"sing"}', limit=100)
    Refused(frame='{"type":"error","reason":"unknown_type","detail":\
"type is neither \\'authenticate\\' nor \\'ping\\'."}')
    """
    try:
        return _parse(text, limit)
    except FrameError as error:
        answer = {"type": "error", "reason": error.reason, "detail": error.detail}
        return Refused(to_json(answer))


def _parse(text: str | None, limit: int) -> ClientEvent:
    frame = decode(text, limit=limit)
    match frame.get("type"):
        case "authenticate":
            token = frame.get("token")
            if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN:
                raise FrameError("invalid", "'token' is a string that is not empty.")
            return Authenticate(token)
        case "ping":
            return Ping()
        case _:
            raise FrameError(
                "unknown_type", "type is neither 'authenticate' nor 'ping'."
            )
