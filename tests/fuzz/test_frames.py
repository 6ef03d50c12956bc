"""
Whatever a client sends is answered, and harms nobody.

Conversations of every protocol, with the consumers in this process: each frame is
answered by what every client can read, and holds nothing of another user's; a valid
frame is answered afterwards as it was before; nothing is logged as an error, and no
task stays.
"""

from __future__ import annotations

import pytest

from tests.fuzz.conversing import converse
from tests.fuzz.frames import Frame, conversations
from tests.fuzz.peers import InProcess
from tests.fuzz.protocols import PROTOCOLS, Protocol
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import APPLICATIONS, World

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

#: Conversations, each of up to eight frames; half as many where nothing is in Redis.
EXAMPLES = {
    "pages": 50,
    "observers": 60,
    "multiplexer": 50,
    "bindings": 40,
    "pubsub": 30,
}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_every_frame_is_answered(protocol: Protocol, layer: str, world: World) -> None:
    if protocol.name == "pubsub" and layer == "memory":
        pytest.skip("there is no pub/sub without Redis")

    def connect() -> InProcess:
        return InProcess(APPLICATIONS[protocol.name], "/ws/", world.stranger)

    async def check(frames: list[Frame]) -> None:
        with watching():
            await converse(protocol, connect, world.words(), frames)
            await no_tasks_stay()

    search(
        check,
        conversations(protocol.frames),
        examples=EXAMPLES[protocol.name] // (2 if layer == "memory" else 1),
        before=world.prepare,
        after=world.is_untouched,
    )
