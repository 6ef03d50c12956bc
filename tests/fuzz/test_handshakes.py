"""
Whatever a client sends before its first frame lets it in, or is refused in order.

Origins, hosts, cookies and URLs, valid and otherwise, with the whole stack of a site:
whoever gets in is answered, and nothing is logged as an error.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz.peers import Closed, InProcess
from tests.fuzz.searching import search
from tests.fuzz.watching import no_tasks_stay, watching
from tests.fuzz.world import World
from tests.pubsub.serving import log_in, session_of
from turbo import asgi
from turbo.pubsub import asgi as pubsub

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.parametrize("layer", ["redis"], indirect=True),
    pytest.mark.slow,
]

#: What servers let through in a header.
PRINTABLE = st.text(
    st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=20
)
HOSTS = st.sampled_from(
    ["testserver", "localhost:80", "[::1]", "[::1", "a..b", "", "127.0.0.1:x", "*", ":"]
)
ORIGINS = st.builds("{}{}".format, st.sampled_from(["http://", "ws:", "//", ""]), HOSTS)
COOKIES = st.sampled_from(
    [
        "sessionid=$session$",
        "sessionid=",
        "sessionid",
        "a=b; sessionid=\xff",
        ";=;",
        "=",
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "origin": ORIGINS | PRINTABLE,
        "host": HOSTS | PRINTABLE,
        "cookie": COOKIES | PRINTABLE,
        "x-forwarded-host": HOSTS | PRINTABLE,
        "x-forwarded-proto": PRINTABLE,
        "sec-websocket-protocol": PRINTABLE,
        "sec-websocket-version": PRINTABLE,
    },
)
WELCOME = {"origin": "http://testserver", "host": "testserver"}
HANDSHAKES = HEADERS | HEADERS.map(lambda more: more | WELCOME)
PATHS = st.sampled_from(["/ws/", "/ws", "/", "//", "/ws/../ws/", "/\xff/", ""])
QUERIES = st.binary(max_size=20) | st.sampled_from(
    [b"token=", b"token=x&token=%ff", b"version=%00", b"=&=&", b"%", b"\xff=\xfe"]
)


APPLICATIONS = {"pages": asgi.get_application, "pubsub": pubsub.get_application}


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_websockets(kind: str, layer: str, world: World) -> None:
    application: Any = APPLICATIONS[kind]()
    session = session_of(log_in(world.stranger))

    async def check(given: tuple[dict[str, str], str, bytes]) -> None:
        headers, path, query = given
        peer = InProcess(application, "/ws/", None)
        peer.scope.pop("user")
        sent = {k: v.replace("$session$", session) for k, v in headers.items()}
        peer.scope["headers"] = [
            (name.encode(), value.encode("latin-1")) for name, value in sent.items()
        ]
        peer.scope.update({"path": path, "query_string": query})
        with watching():
            try:
                async with peer:
                    await peer.send('{"type":"ping"}')
                    while '"pong"' not in await peer.next():
                        pass
            except Closed as closed:
                # 1000 is what the test client makes of a refused handshake.
                if closed.code not in (1000, 4403):
                    raise
            await no_tasks_stay()

    search(check, st.tuples(HANDSHAKES, PATHS | st.just("/ws/"), QUERIES), examples=60)
