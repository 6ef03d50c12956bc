"""
Whoever asks for an event stream gets one that they may see, or an answer that says why.

URLs, positions and headers, valid and otherwise, with all of Django around the view.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.urls import reverse
from hypothesis import strategies as st

from tests.fuzz.frames import NAME, TEXTS
from tests.fuzz.protocols import POSITIONS, SIGNED
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import SECRET, World
from tests.pubsub.serving import log_in, session_of
from tests.support.servers import PATIENCE
from turbo.metrics import counters

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.parametrize("layer", ["redis"], indirect=True),
    pytest.mark.slow,
]

SENDABLE = st.sampled_from([text for text in TEXTS if text.isascii()])
QUERIES = st.builds(
    lambda more, given: {**more, **given},
    st.dictionaries(NAME, SENDABLE, max_size=2),
    st.fixed_dictionaries({}, optional={"stream": SIGNED, "since": POSITIONS}),
)
RAW = st.sampled_from(
    [b"", b"stream=%ff", b"stream", b"stream=%00", b"&=&", b"%", b"="]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={"last-event-id": POSITIONS | SENDABLE, "host": SENDABLE},
)
METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "get", "?"])
#: Those whose streams the stranger may see.
OPEN = {"$announced$", "$lobby$", "$anyone$"}


def test_event_streams(layer: str, world: World) -> None:
    application: Any = get_asgi_application()
    path = reverse("turbo:sse")
    cookie = f"sessionid={session_of(log_in(world.stranger))}"
    disturb = sync_to_async(world.disturb)
    words = {f"${name}$": str(word) for name, word in world.words().items()}

    async def check(
        given: tuple[str, dict[str, str] | bytes, dict[str, str]],
    ) -> None:
        method, query, more = given
        asked = query.get("stream") if isinstance(query, dict) else None
        headers = {"host": "testserver", "cookie": cookie} | more
        with watching():
            peer = ApplicationCommunicator(
                application,
                {
                    "type": "http",
                    "method": method,
                    "path": path,
                    "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
                    "query_string": _encoded(query, words),
                },
            )
            await peer.send_input({"type": "http.request"})
            start = await peer.receive_output(PATIENCE)
            status, body = start["status"], b""
            assert status != 200 or asked in OPEN, start
            if status == 200:
                await disturb()
            await peer.send_input({"type": "http.disconnect"})
            await peer.wait(PATIENCE)
            while not peer.output_queue.empty():
                body += peer.output_queue.get_nowait().get("body", b"")
            assert status in (200, 400, 403, 405), (start, body)
            assert SECRET.encode() not in body
            assert counters()["subscribers"] == 0
            await no_tasks_stay()

    search(check, st.tuples(METHODS, QUERIES | RAW, HEADERS), examples=80)


def _encoded(query: dict[str, str] | bytes, words: dict[str, str]) -> bytes:
    if isinstance(query, bytes):
        return query
    filled = {name: words.get(value, value) for name, value in query.items()}
    return urlencode(filled, quote_via=quote, errors="replace").encode()
