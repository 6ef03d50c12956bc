"""
Whatever a client sends is answered, and harms nobody.

Conversations of every protocol, with the consumers in this process: each frame is
answered by what every client can read, and holds nothing of another user's; a valid
frame is answered afterwards as it was before; nothing is logged as an error, and no
task stays.
"""

from __future__ import annotations

from functools import partial

import pytest

from tests.fuzz.frames import Frame, conversations, fill
from tests.fuzz.peers import Closed, InProcess
from tests.fuzz.protocols import PROTOCOLS, Protocol, value_of
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import SECRET, World

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

#: Conversations, each of up to eight frames.
EXAMPLES = {
    "pages": 60,
    "observers": 80,
    "multiplexer": 60,
    "bindings": 40,
    "pubsub": 30,
}


async def converse(
    protocol: Protocol, world: World, words: dict[str, object], frames: list[Frame]
) -> None:
    """Send frames over a connection, and what is left over another if it is closed."""
    rest = iter(frames)
    codes: set[int | None] = {None}
    try:
        async with InProcess(protocol.application, "/ws/", world.stranger) as peer:
            for frame in rest:
                sent = fill(frame, words)
                codes.add(protocol.closes(value_of(sent)))
                said = await protocol.exchange(peer, sent)
                assert SECRET not in str(said)
                assert not any(map(protocol.is_failure, said)), (frame, said)
            await protocol.probe(peer, partial(fill, words=words))
    except Closed as closed:
        if closed.code not in codes - {None}:
            raise
        await converse(protocol, world, words, list(rest))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_every_frame_is_answered(protocol: Protocol, layer: str, world: World) -> None:
    if protocol.name == "pubsub" and layer == "memory":
        pytest.skip("there is no pub/sub without Redis")

    async def check(frames: list[Frame]) -> None:
        with watching():
            await converse(protocol, world, world.words(), frames)
            await no_tasks_stay()

    search(
        check,
        conversations(protocol.frames),
        examples=EXAMPLES[protocol.name],
        before=world.prepare,
        after=world.is_untouched,
    )
