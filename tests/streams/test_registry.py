"""Streams are known by the name of their app and class."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import turbo
from tests.testapp.models import Card, Message, Room, Tag
from tests.testapp.streams import Announcements, Counter, RoomStream
from turbo.exceptions import ConfigurationError, UnknownStreamError
from turbo.streams import registry
from turbo.streams.registry import from_name, resolve, stream_class, stream_classes


def test_every_stream_of_an_installed_app_is_found() -> None:
    labels = [cls.label for cls in stream_classes()]

    assert {"testapp:Announcements", "testapp:RoomStream"} <= set(labels)
    assert labels == sorted(labels)


def test_importing_the_base_classes_declares_nothing() -> None:
    module = ModuleType("testing.streams")
    module.Stream, module.ModelStream = turbo.Stream, turbo.ModelStream
    sys.modules[module.__name__] = module

    try:
        registry.autodiscover()
    finally:
        del sys.modules[module.__name__]

    labels = [cls.label for cls in stream_classes()]
    assert not [
        label for label in labels if label.endswith((":Stream", ":ModelStream"))
    ]
    assert not [label for label in labels if label.startswith("asyncio")]


def test_a_class_outside_of_apps_takes_the_first_part_of_its_module() -> None:
    assert registry.label_of(type("X", (), {"__module__": "far.away"})) == "far:X"
    assert registry.label_of(RoomStream) == "testapp:RoomStream"
    assert registry.label_of(RoomStream, app_label="chat") == "chat:RoomStream"


def test_two_classes_of_one_name_are_an_error_unless_it_is_loaded_anew() -> None:
    body = {"label": "testapp:Announcements", "options": Announcements.options}
    again = type("Announcements", (), body)
    again.__module__ = Announcements.__module__
    other = type("Announcements", (), body)

    registry.register(again)
    registry.register(Announcements)
    with pytest.raises(ConfigurationError, match="Two streams are called"):
        registry.register(other)


@pytest.mark.usefixtures("declaring")
def test_a_function_that_makes_classes_gives_each_a_name() -> None:
    """Otherwise the test of one would be asked about the objects of the other."""

    def make(its_model: Any) -> type[turbo.ModelStream]:
        class MadeStream(turbo.ModelStream):
            class Meta:
                model = its_model
                attribute = "made"

        return MadeStream

    make(Tag)
    with pytest.raises(ConfigurationError) as caught:
        make(Card)

    assert str(caught.value) == (
        f"Two streams are called 'tests:MadeStream': one in {__name__} for "
        f"testapp.Tag, one in {__name__} for testapp.Card. Rename one, or set its "
        f"Meta.app_label."
    )
    make(Tag)


@pytest.mark.parametrize("label", ["testapp:Nothing", "x", "", None, []])
def test_an_unknown_label_names_the_known_ones(label: object) -> None:
    with pytest.raises(UnknownStreamError, match="testapp:Announcements"):
        stream_class(label)  # type: ignore[arg-type]


def test_a_name_means_a_stream_with_its_arguments() -> None:
    assert from_name("testapp:Announcements").stream_name == "testapp:Announcements"
    assert from_name("testapp:RoomStream:7").pk == 7
    counter = from_name('testapp:Counter:{"args":[3],"kwargs":{"name":"a:b"}}')
    assert (counter.number, counter.name) == (3, "a:b")


def test_resolve_takes_streams_classes_names_and_instances() -> None:
    room = Room(pk=7)
    stream = Counter(3)

    assert resolve("testapp:Announcements").stream_name == "testapp:Announcements"
    assert resolve(Announcements).stream_name == "testapp:Announcements"
    assert resolve(stream) is stream
    assert resolve(room).stream_name == "testapp:RoomStream:7"
    assert resolve(Message(pk=1)).stream_name == "testapp:MessageStream:1"


@pytest.mark.parametrize("value", [Tag(pk=1), 7, None, object, "testapp:Nothing"])
def test_what_has_no_stream_is_unknown(value: object) -> None:
    with pytest.raises(UnknownStreamError):
        resolve(value)
