"""
Whatever a client sends is answered, and harms nobody.

Conversations of every protocol, with the consumers in this process: each frame is
answered by what every client can read, and holds nothing of another user's; a valid
frame is answered afterwards as it was before; nothing is logged as an error, and no
task stays.
"""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from tests.fuzz.conversing import converse
from tests.fuzz.frames import Frame, conversations
from tests.fuzz.peers import InProcess
from tests.fuzz.protocols import PROTOCOLS, Protocol
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import APPLICATIONS, World

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.slow,
]

#: Conversations, each of up to eight frames; fewer where nothing is in Redis.
EXAMPLES = {
    "pages": 40,
    "observers": 50,
    "multiplexer": 40,
    "bindings": 30,
    "pubsub": 20,
}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_every_frame_is_answered(protocol: Protocol, layer: str, world: World) -> None:
    if protocol.name == "pubsub" and layer == "memory":
        pytest.skip("there is no pub/sub without Redis")

    def connect() -> InProcess:
        return InProcess(APPLICATIONS[protocol.name], "/ws/", world.stranger)

    disturb = sync_to_async(world.disturb)

    async def check(frames: list[Frame]) -> None:
        with watching():
            await converse(protocol, connect, world.words(), disturb, frames)
            await no_tasks_stay()

    search(
        check,
        conversations(protocol.frames),
        examples=EXAMPLES[protocol.name] // (3 if layer == "memory" else 1),
        before=world.prepare,
        after=world.is_untouched,
    )
