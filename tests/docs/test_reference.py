"""The documentation names everything that is public, as it really is."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any
from xml.etree import ElementTree

import pytest

import turbo
from tests.support.documents import DOCS, blocks, everything
from tests.support.rooms import PACKAGE, ROOMS
from turbo import metrics
from turbo.bindings.conf import BindingSettings
from turbo.conf import Settings
from turbo.connections import sse_text
from turbo.database.layer import DatabaseLayer
from turbo.delivery.names import stream_id
from turbo.delivery.protocol import (
    PING,
    CloseCode,
    Limits,
    PageProtocol,
    PageSubscription,
    Pinged,
    Refused,
    Subscribe,
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
    words = {name: rf"(?<!\w){re.escape(name)}(?!\w)" for name in names}
    return sorted(name for name, word in words.items() if not re.search(word, text))


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
        settings = importlib.import_module("turbo.observers.conf").ObserverSettings
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
    modules = (path for path in CLIENT.glob("*.js") if path.name not in NOT_PAGES)
    script = "".join(path.read_text() for path in modules if ".min." not in path.name)
    kinds = set(re.findall(r'(?:notify|stop)\("(\w+)"', script)) - {"moved"}
    of_page = set(re.findall(r'"(turbo-channels:[\w-]+)"', script))

    shown = entries("domevent", read("client"))

    assert sorted(shown) == sorted({f"turbo-stream:{kind}" for kind in kinds} | of_page)


CLIENT = PACKAGE / "static/turbo"
#: Turbo itself, and clients that are no part of a page's.
NOT_PAGES = {"turbo.js", "bindings.js", "observers.js"}


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
        | set(re.findall(r'(?:return|else) "(\w+)"', source("connections/permissions")))
        | sources(r'FORBIDDEN = "(\w+)"')
        | sources(r'Permission\("(\w+)"\)')
    )

    assert set(re.findall(r"(?m)^``(\w+)`` ", table)) - {"reason"} == reasons


def test_every_reason_of_an_error_has_an_entry() -> None:
    table = read("protocol").partition("Reasons of ``error``")[2]
    raised = r'FrameError\(\s*"(\w+)"|error_frame\("(\w+)"'
    modules = ("delivery/client_json", "delivery/protocol", "connections/whispers")
    text = "".join(map(source, modules))
    reasons = {a or b for a, b in re.findall(raised, text)}

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
        ("turbo.database", "outbox"),
        ("turbo.http", "http"),
        ("turbo.http.native", "http"),
        ("turbo.jinja2", "tags"),
        ("turbo.observers", "observers"),
        ("turbo.pubsub", "pubsub"),
        ("turbo.shortcuts", "shortcuts"),
        ("turbo.testing", "testing"),
    ],
)
def test_every_name_of_a_public_module_is_on_its_page(module: str, page: str) -> None:
    names = set(importlib.import_module(module).__all__) - NOT_PUBLIC

    assert unmentioned(names, read(page)) == []


def test_the_options_of_the_layer_are_those_of_its_class() -> None:
    parameters = inspect.signature(DatabaseLayer).parameters.values()
    table = read("database").partition(".. class::")[2].partition("\nA message is")[0]

    options = ", ".join(f"{p.name}={p.default!r}" for p in parameters)
    assert table.startswith(f" DatabaseLayer(*, {options})\n")
    named = re.findall(r"(?m)^   ``(\w+)``  ", table)
    assert named == [p.name for p in parameters]


def test_every_helper_of_turbo_rails_has_its_counterpart_or_a_reason() -> None:
    names = [name for line in TURBO_RAILS for name in spelled_out(line)]

    rows = re.findall(r"(?m)^   \* - (.*)\n     - .{4}", read("turbo-rails"))

    assert unmentioned(names, "\n".join(rows)) == []


def spelled_out(line: str) -> list[str]:
    """Return ``["a_x", "b_x"]`` for ``"{a,b}_x"``."""
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", line)
    if match is None:
        return [line]
    return [match[1] + part + match[3] for part in match[2].split(",")]


#: The public methods of turbo-rails 2.0, module by module.
TURBO_RAILS = [
    "turbo_frame_tag",
    "turbo_frame_{request?,request_id}",
    "turbo_stream.{append,prepend,before,after,replace,update,remove,action}",
    "turbo_stream.{append,prepend,before,after,replace,update,remove,action}_all",
    "turbo_stream.refresh",
    "turbo_stream_{from,action_tag,refresh_tag}",
    "Turbo::Streams::TurboStreamsTagBuilder",
    "broadcasts{,_to,_refreshes,_refreshes_to}",
    "broadcast_target_default",
    "broadcast_{append,prepend,before,after,replace,update,remove}_to",
    "broadcast_{refresh,action,render,stream}_to",
    "broadcast_{append,prepend,before,after,replace,update}_later_to",
    "broadcast_{refresh,action,render}_later_to",
    "broadcast_{append,prepend,replace,update,remove,refresh,action,render}",
    "broadcast_{append,prepend,replace,update,refresh,action,render}_later",
    "suppress{ing_turbo_broadcasts,ed_turbo_broadcasts?}",
    "{signed_stream_name,verified_stream_name,verified_stream_name_from_params}",
    "Turbo::{StreamsChannel,RequestIdTracking,Debouncer,ThreadDebouncer}",
    "Turbo::Streams::{BroadcastJob,ActionBroadcastJob,BroadcastStreamJob}",
    "Turbo.{current_request_id,with_request_id,signed_stream_verifier}",
    "turbo_include_tags",
    "turbo_{refreshes_with,refresh_method_tag,refresh_scroll_tag}",
    "turbo_{exempts_page_from_cache,exempts_page_from_preview}",
    "turbo_{page_requires_reload,disable_prefetch}",
    "turbo_{exempts_page_from_cache,exempts_page_from_preview}_tag",
    "turbo_{page_requires_reload,disable_prefetch}_tag",
    "{hotwire,turbo}_native_app?",
    "{recede,resume,refresh}_or_redirect_to",
    "{recede,resume,refresh}_or_redirect_back_or_to",
    "turbo_{recede,resume,refresh}_historical_location",
    "assert_{turbo,no_turbo}_stream",
    "assert_{turbo,no_turbo}_frame",
    "assert_{turbo,no_turbo}_stream_broadcasts",
    "assert_{turbo,no_turbo}_cable_stream_source",
    "capture_turbo_stream_broadcasts",
    "connect_turbo_cable_stream_sources",
]


def test_every_test_that_the_documentation_names_is_there() -> None:
    """What it says is shown by a test is shown by one."""
    named = re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", everything())

    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(
            rf"(?m)^(?:async )?def {name}\(", (DOCS.parent / path).read_text()
        )
    ]
    assert missing == []
    assert len(named) > 30


def test_the_lines_that_are_left_to_the_proxy_are_in_its_file() -> None:
    text = (DOCS / "topics/security.rst").read_text().partition(".. _proxy:")[2]
    table = text.partition("What it stops")[2].partition("What goes out")[0]
    [site] = blocks(DOCS / "howto/deployment.rst", "nginx")

    lines = re.findall(r"(?m)^``(.+?)``", table)
    assert len(lines) >= 7
    assert [line for line in lines if line not in site.code] == []


NOT_PUBLIC = {"SafeHtml", "STREAM_CONTENT_TYPE", "urlpatterns"}


def test_the_table_of_rooms_is_that_of_the_code() -> None:
    text = (DOCS / "topics/architecture.rst").read_text()
    table = text.partition("\nRooms\n=====\n")[2]
    rows = re.findall(r"(?m)^   \* - (``.+)$", table)

    assert [tuple(re.findall(r"``(\w+)``", row)) for row in rows] == list(ROOMS)


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
    protocol, sid = PageProtocol(), stream_id(NAME)
    subscription = PageSubscription(SIGNED, NAME, sid)
    remove = '<turbo-stream action="remove" target="hint"></turbo-stream>'

    made = {
        "subscribed": protocol.accept(subscription, position="k3f9a:7", recovered=True),
        "message": message_frame(sid, position="k3f9a:8", data=remove),
        "gap": message_frame(sid, position="k3f9a:9", data=None),
        "unsubscribed": received(protocol, "unsubscribe").frames[0],
        "denied": protocol.deny(SIGNED, reason="forbidden"),
        "retry": protocol.retry(SIGNED),
        "error": answer(protocol, "[]"),
        "ping": PING,
        "pong": received(protocol, "client-ping").frame,
        "sse": sse_text.retry(1500)
        + sse_text.event(remove, id="k3f9a:8")
        + sse_text.comment("ping").rstrip("\n"),
    }

    shown = frames()
    assert {name: shown[name] for name in made} == made


def received(protocol: PageProtocol, name: str) -> Any:
    return protocol.receive(frames()[name])


def answer(protocol: PageProtocol, text: str) -> str:
    event = protocol.receive(text)
    assert isinstance(event, Refused)
    return event.frame


def test_frames_of_the_client_are_understood() -> None:
    protocol = PageProtocol(Limits())

    kinds = [
        type(received(protocol, name))
        for name in ("subscribe", "unsubscribe", "client-ping")
    ]

    assert kinds == [Subscribe, Unsubscribe, Pinged]
