"""One client's conversation, and what must be true of every such."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tests.fuzz.frames import Frame, fill
from tests.fuzz.peers import Closed, Peer
from tests.fuzz.protocols import Protocol, value_of
from tests.fuzz.world import SECRET
from turbo.delivery.protocol import CloseCode

__all__ = ["converse"]


async def converse(
    protocol: Protocol,
    connect: Callable[[], Peer],
    words: Mapping[str, Any],
    disturb: Callable[[], Awaitable[None]],
    frames: Sequence[Frame],
    *,
    limit: int | None = None,
) -> None:
    """
    Send frames over a connection, and what is left over another if it is closed.

    A frame of more than ``limit`` bytes may end it. ``disturb`` changes what the client
    may not see, whatever it has subscribed to.
    """
    rest = iter(frames)
    codes: set[int | None] = {None}
    try:
        async with connect() as peer:
            for frame in rest:
                sent = fill(frame, words)
                codes.add(protocol.closes(value_of(sent)))
                if limit is not None and len(sent) > limit:
                    codes.add(CloseCode.TOO_BIG)
                said = await protocol.exchange(peer, sent)
                assert SECRET not in str(said)
                assert not any(map(protocol.is_failure, said)), (frame, said)
            await disturb()
            said = await protocol.probe(peer, partial(fill, words=words))
            assert SECRET not in str(said)
    except Closed as closed:
        if closed.code not in codes - {None}:
            raise
        await converse(protocol, connect, words, disturb, list(rest), limit=limit)
