"""Servers that do TLS themselves, without a proxy in front of them."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.test import override_settings

import turbo
from tests.support.clients import connect
from tests.support.servers import PATIENCE, WebServer, free_port
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import shut_down


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate that it has signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(
            encoding,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(encoding)
    )
    return path


@pytest.fixture(params=["daphne", "uvloop", "asyncio"])
def secure(
    request: pytest.FixtureRequest,
    valkey: Any,
    make_project: Callable[..., Any],
    certificate: Path,
) -> Any:
    """A server, and the port at which it speaks TLS."""
    settings = {"ALLOWED_HOSTS": ["127.0.0.1"]}
    project = make_project("redis", **settings)
    pem = str(certificate)
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            port = free_port()
            endpoint = f"ssl:{port}:privateKey={pem}:certKey={pem}:interface=127.0.0.1"
            server = request.getfixturevalue("daphne")(project, "-e", endpoint)
            yield server, port
        else:
            tls = ("--loop", request.param, "--ssl-keyfile", pem, "--ssl-certfile", pem)
            server = request.getfixturevalue("uvicorn")(project, *tls)
            yield server, server.port
        shut_down(5)


async def test_frames_go_through_tls_both_ways(secure: tuple[WebServer, int]) -> None:
    _, port = secure
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    origin: Any = f"https://127.0.0.1:{port}"
    url = f"wss://127.0.0.1:{port}/ws/"
    async with connect(url, origin=origin, ssl=context) as socket:
        async with asyncio.timeout(PATIENCE):
            signed = Announcements().signed_stream_name
            for number in range(3):
                streams = [{"name": signed}]
                await socket.send(json.dumps({"type": "subscribe", "streams": streams}))
                assert json.loads(await socket.recv())["type"] == "subscribed"
                Announcements().append(html=f"<b>{number}</b>" * 5_000, id="x")
                assert await asyncio.to_thread(turbo.flush, PATIENCE)
                assert f"<b>{number}</b>" in json.loads(await socket.recv())["data"]
