"""The documentation names everything that is public, as it really is."""

from __future__ import annotations

import fnmatch
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any
from xml.etree import ElementTree

import pytest

import turbo
from tests.documents import DOCS, blocks, everything
from tests.layers import PACKAGE, ROWS
from turbo import eventstream, metrics
from turbo.bindings.conf import BindingSettings
from turbo.conf import Settings
from turbo.names import stream_id
from turbo.protocol import (
    PING,
    CloseCode,
    Limits,
    Pinged,
    Refused,
    Session,
    Subscribe,
    Subscription,
    Unsubscribe,
    message_frame,
)
from turbo.pubsub.conf import PubSubSettings
from turbo.templatetags.turbo_streams import register

REFERENCE = DOCS / "reference"


def read(name: str) -> str:
    path = REFERENCE / f"{name}.rst"
    return path.read_text() if path.exists() else ""


def entries(directive: str, text: str) -> list[str]:
    """Return what the directives of one kind describe."""
    return re.findall(rf"(?m)^ *\.\. {directive}:: *(\S+)", text)


def sources(pattern: str, *, below: str = "") -> set[str]:
    """Return what ``pattern`` captures anywhere in the library."""
    files = (PACKAGE / below).rglob("*.py")
    found = (re.findall(pattern, path.read_text()) for path in files)
    return {item for items in found for item in items}


def unmentioned(names: Iterable[str], text: str) -> list[str]:
    """Return those of ``names`` that the text does not have as a word."""
    return sorted(n for n in names if not re.search(rf"\b{re.escape(n)}\b", text))


# --- Everything has its entry


def test_every_setting_has_an_entry_with_its_default() -> None:
    text = read("settings")
    shown = re.findall(r"\.\. confval:: (\w+)\n.*\n   :default: ``(.*)``", text)

    values = {field.name.upper(): getattr(DEFAULTS, field.name) for field in SETTINGS}
    actual = [
        (name, repr(dict(value) if isinstance(value, Mapping) else value))
        for name, value in values.items()
    ]
    assert sorted(shown) == sorted(actual)


DEFAULTS, SETTINGS = Settings(), fields(Settings)


@pytest.mark.parametrize(
    ("page", "settings"),
    [
        ("bindings", BindingSettings),
        ("observers", None),
        ("pubsub", PubSubSettings),
    ],
)
def test_every_setting_of_an_app_is_on_its_page(page: str, settings: Any) -> None:
    if settings is None:  # needs Django REST framework, and that its settings
        settings = importlib.import_module("turbo.observers.options").Options
    names = [field.name.upper() for field in fields(settings)]

    assert unmentioned(names, read(page)) == []


def test_every_system_check_has_an_entry() -> None:
    ids = sources(r'"(turbo\.[EW]\d{3})"')

    assert sorted(entries("check", everything())) == sorted(ids)


def test_every_exception_has_an_entry() -> None:
    module = importlib.import_module("turbo.exceptions")

    shown = entries("autoexception", read("exceptions"))

    assert sorted(shown) == sorted(module.__all__)


def test_every_counter_and_gauge_has_an_entry() -> None:
    shown = entries("metric", read("metrics"))

    assert sorted(shown) == sorted({*metrics.NAMES, *metrics.GAUGES})


def test_every_logger_has_an_entry() -> None:
    names = sources(r'getLogger\("(turbo\.\w+)"\)') | {"turbo.changes"}

    assert unmentioned(names - {"turbo.testing"}, read("metrics")) == []


def test_every_event_of_the_client_has_an_entry() -> None:
    script = (PACKAGE / "static/turbo/turbo-channels.js").read_text()
    kinds = set(re.findall(r'(?:notify|stop)\("(\w+)"', script)) - {"moved"}

    shown = entries("domevent", read("client"))

    assert sorted(shown) == sorted(f"turbo-stream:{kind}" for kind in kinds)


def test_every_tag_is_on_its_page() -> None:
    assert unmentioned(register.tags, read("tags")) == []


def test_every_command_is_on_its_page() -> None:
    found = PACKAGE.rglob("management/commands/*.py")
    names = [path.stem for path in found if path.stem != "__init__"]

    assert unmentioned(names, read("commands")) == []


def test_every_close_code_has_an_entry() -> None:
    shown = re.findall(r"(?m)^(\d{4})  ", read("protocol"))

    assert sorted(map(int, shown)) == sorted(CloseCode)


def test_every_reason_of_a_denial_has_an_entry() -> None:
    text = read("protocol").partition("Reasons of ``denied``")[2]
    table = text.partition("Reasons of ``error``")[0]
    reasons = (
        sources(r'Refusal\(\w+, "(\w+)"\)')
        | sources(r'NameRefused\("(\w+)"\)')
        | sources(r'deny\([\w.]+, reason="(\w+)"\)')
        | set(re.findall(r'(?:return|else) "(\w+)"', source("gate")))
    )

    assert set(re.findall(r"(?m)^``(\w+)`` ", table)) - {"reason"} == reasons


def test_every_reason_of_an_error_has_an_entry() -> None:
    table = read("protocol").partition("Reasons of ``error``")[2]
    reasons = set(re.findall(r'FrameError\(\s*"(\w+)"', source("protocol")))

    assert set(re.findall(r"(?m)^``(\w+)`` ", table)) - {"reason"} == reasons


def source(name: str) -> str:
    return (PACKAGE / f"{name}.py").read_text()


def test_the_top_level_is_what_its_page_lists() -> None:
    shown = re.findall(r"\* - :\w+:`~turbo\.(\w+)`", read("turbo"))

    assert sorted(shown) == sorted(turbo.__all__)


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("turbo.bindings", "bindings"),
        ("turbo.changes", "changes"),
        ("turbo.components", "components"),
        ("turbo.http", "http"),
        ("turbo.native", "http"),
        ("turbo.observers", "observers"),
        ("turbo.pubsub", "pubsub"),
        ("turbo.shortcuts", "shortcuts"),
        ("turbo.testing", "testing"),
    ],
)
def test_every_name_of_a_public_module_is_on_its_page(module: str, page: str) -> None:
    names = set(importlib.import_module(module).__all__) - NOT_PUBLIC

    assert unmentioned(names, read(page)) == []


NOT_PUBLIC = {"SafeHtml", "STREAM_CONTENT_TYPE", "urlpatterns"}


def test_the_picture_of_the_layers_is_that_of_the_code() -> None:
    text = (DOCS / "topics/architecture.rst").read_text()
    rows = re.findall(r"   \* - (\d) \w+\n     - (.*)", text)

    shown = {int(layer): set(re.findall(r"``(\w+)``", row)) for layer, row in rows}

    actual: dict[int, set[str]] = {}
    for layer, row in ROWS:
        names = {name.partition(".")[0] for name in row}
        actual.setdefault(layer, set()).update(names)
    assert shown == actual


def test_every_page_can_be_found_from_the_first() -> None:
    """A page is named by the table of contents of its folder, or taken by its glob."""
    for page in DOCS.glob("*/*.rst"):
        index = (page.parent / "index.rst").read_text()
        patterns = re.findall(r"(?m)^   ([\w*-]+)$", index)

        assert page.stem == "index" or any(
            fnmatch.fnmatch(page.stem, pattern) for pattern in patterns
        ), page


def test_the_pictures_are_text() -> None:
    """Nothing binary is committed; what there is can be read and drawn."""
    for picture in (DOCS / "images").iterdir():
        ElementTree.parse(picture)


# --- The wire is what the page says

SIGNED = "WyJjaGF0Il0:1w9:zT"
NAME = "chat:Announcements"


def frames() -> dict[str, str]:
    found = blocks(REFERENCE / "protocol.rst")
    return {
        name.removeprefix("frame-"): block.code.rstrip("\n")
        for block in found
        if (name := block.options.get("name"))
    }


def test_frames_of_the_server_are_made_as_shown() -> None:
    session, sid = Session(), stream_id(NAME)
    subscription = Subscription(SIGNED, NAME, sid)
    remove = '<turbo-stream action="remove" target="hint"></turbo-stream>'

    made = {
        "subscribed": session.accept(subscription, position="k3f9a:7", recovered=True),
        "message": message_frame(sid, position="k3f9a:8", data=remove),
        "gap": message_frame(sid, position="k3f9a:9", data=None),
        "unsubscribed": received(session, "unsubscribe").frames[0],
        "denied": session.deny(SIGNED, reason="forbidden"),
        "retry": session.retry(SIGNED),
        "error": answer(session, "[]"),
        "ping": PING,
        "pong": received(session, "client-ping").frame,
        "sse": eventstream.retry(1500)
        + eventstream.event(remove, id="k3f9a:8")
        + eventstream.comment("ping").rstrip("\n"),
    }

    shown = frames()
    assert {name: shown[name] for name in made} == made


def received(session: Session, name: str) -> Any:
    return session.receive(frames()[name])


def answer(session: Session, text: str) -> str:
    event = session.receive(text)
    assert isinstance(event, Refused)
    return event.frame


def test_frames_of_the_client_are_understood() -> None:
    session = Session(Limits())

    kinds = [
        type(received(session, name))
        for name in ("subscribe", "unsubscribe", "client-ping")
    ]

    assert kinds == [Subscribe, Unsubscribe, Pinged]
