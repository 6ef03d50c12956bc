"""
Elements are exact HTML; what comes from outside can never end an attribute.

An element's id is formed from the row that it shows.
"""

from __future__ import annotations

import uuid
from enum import Enum
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import models
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe
from hypothesis import given
from hypothesis import strategies as st

from tests.testapp.models import (
    AbstractBase,
    Child,
    CompositeItem,
    Message,
    ProxyRoom,
    Room,
    UuidItem,
)
from turbo.exceptions import ActionError, TargetError
from turbo.streams.html import (
    dom_id,
    element,
    event_source,
    meta,
    source,
    tag,
    turbo_frame,
)

HOSTILE = "\"'><script>alert(1)</script>&amp;"
ESCAPED = "&quot;&#x27;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;"

WITH_CONTENT = ["append", "prepend", "replace", "update", "before", "after"]


@pytest.mark.parametrize("action", WITH_CONTENT)
def test_element_puts_content_into_a_template(action: str) -> None:
    html = element(action, target="messages", content="<p>Hello</p>")

    assert html == (
        f'<turbo-stream action="{action}" target="messages">'
        f"<template><p>Hello</p></template></turbo-stream>"
    )
    assert isinstance(html, SafeString)


def test_element_without_content_has_no_template() -> None:
    html = element("remove", target="message-1")

    assert html == '<turbo-stream action="remove" target="message-1"></turbo-stream>'


def test_element_with_empty_content_has_an_empty_template() -> None:
    html = element("update", target="x", content="")

    assert html == (
        '<turbo-stream action="update" target="x"><template></template></turbo-stream>'
    )


def test_element_takes_a_selector_for_several_targets() -> None:
    html = element("remove", targets="#list > li.old")

    assert html == (
        '<turbo-stream action="remove" targets="#list &gt; li.old"></turbo-stream>'
    )


def test_element_has_its_attributes_in_the_order_given() -> None:
    html = element(
        "replace", target="x", content="y", attributes={"method": "morph", "data-b": 2}
    )

    assert html == (
        '<turbo-stream action="replace" target="x" method="morph" data-b="2">'
        "<template>y</template></turbo-stream>"
    )


def test_an_action_may_be_a_member_of_an_enum() -> None:
    """Which is equal to its value, but prints something else."""

    class Action(str, Enum):  # noqa: UP042 - a StrEnum prints its value
        APPEND = "append"

    elements = [
        element(action, target="enum", content="x")
        for action in (Action.APPEND, "append")
    ]

    assert (
        elements
        == [
            '<turbo-stream action="append" target="enum"><template>x</template>'
            "</turbo-stream>"
        ]
        * 2
    )


def test_refresh_and_custom_actions_need_no_target() -> None:
    assert element("refresh") == '<turbo-stream action="refresh"></turbo-stream>'
    assert element("notify", content="Saved", attributes={"level": "info"}) == (
        '<turbo-stream action="notify" level="info">'
        "<template>Saved</template></turbo-stream>"
    )


def test_custom_action_may_have_a_target() -> None:
    html = element("highlight", target="message-1")

    assert html == '<turbo-stream action="highlight" target="message-1"></turbo-stream>'


def test_attribute_values_that_are_true_have_no_value() -> None:
    html = tag("turbo-frame", {"id": "x", "disabled": True})

    assert html == '<turbo-frame id="x" disabled></turbo-frame>'


def test_attribute_values_that_are_none_or_false_are_left_out() -> None:
    html = tag("turbo-frame", {"id": "x", "src": None, "disabled": False, "data-n": 0})

    assert html == '<turbo-frame id="x" data-n="0"></turbo-frame>'


@pytest.mark.parametrize("place", ["target", "targets"])
def test_a_hostile_target_is_escaped(place: str) -> None:
    html = element("remove", **{place: HOSTILE})

    assert html == (
        f'<turbo-stream action="remove" {place}="{ESCAPED}"></turbo-stream>'
    )


def test_a_safe_string_is_escaped_in_an_attribute() -> None:
    html = element("notify", attributes={"text": mark_safe(HOSTILE)})

    assert html == f'<turbo-stream action="notify" text="{ESCAPED}"></turbo-stream>'


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1st",
        "-x",
        "no space",
        'x"y',
        "x>y",
        "x=y",
        "x/y",
        "é",
        "x\n",
        "\uff58",
        None,
        3,
    ],
)
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ActionError) as action:
        element(name)
    with pytest.raises(ActionError) as attribute:
        element("notify", attributes={name: "1"})

    assert (action.value.name, action.value.kind) == (name, "action")
    assert (attribute.value.name, attribute.value.kind) == (name, "attribute")


@pytest.mark.parametrize(
    "name", ["onclick", "ONLOAD", "on", "action", "Target", "targets"]
)
def test_handlers_and_own_attributes_are_refused(name: str) -> None:
    with pytest.raises(ActionError) as caught:
        element("remove", target="x", attributes={name: "alert(1)"})

    assert str(caught.value) == (
        f"{name!r} is not a valid attribute name. Start with a letter and use ASCII "
        f"letters, digits, '-' and '_' only; event handlers (on…) and the names that "
        f"the element sets itself are refused."
    )


@pytest.mark.parametrize("action", [*WITH_CONTENT, "remove"])
@pytest.mark.parametrize("target", [None, ""])
def test_an_action_without_target_is_refused(action: str, target: str | None) -> None:
    with pytest.raises(TargetError) as caught:
        element(action, target=target)

    assert str(caught.value) == (
        f"{action!r} needs a target: pass either id= or selector=."
    )


@pytest.mark.parametrize("action", ["append", "refresh", "notify"])
def test_two_targets_are_refused(action: str) -> None:
    with pytest.raises(TargetError) as caught:
        element(action, target="x", targets=".x")

    assert str(caught.value) == (
        f"{action!r} was given id and selector: pass either id= or selector=."
    )


def test_frame_has_its_own_attributes_first() -> None:
    html = turbo_frame(
        "tray",
        "<p>…</p>",
        src="/trays/1?a=1&b=2",
        loading="lazy",
        target="_top",
        attributes={"data-turbo-action": "advance"},
    )

    assert html == (
        '<turbo-frame id="tray" src="/trays/1?a=1&amp;b=2" loading="lazy" target="_top"'
        ' data-turbo-action="advance"><p>…</p></turbo-frame>'
    )


def test_frame_alone() -> None:
    assert turbo_frame("tray") == '<turbo-frame id="tray"></turbo-frame>'


def test_source() -> None:
    assert source("signed:1", "@17") == (
        '<turbo-channels-stream-source signed-stream-name="signed:1" since="@17">'
        "</turbo-channels-stream-source>"
    )


def test_event_source() -> None:
    assert event_source("/sse/?stream=a&since=b") == (
        '<turbo-stream-source src="/sse/?stream=a&amp;since=b"></turbo-stream-source>'
    )


def test_meta() -> None:
    assert meta("turbo-root", '/a"b') == (
        '<meta name="turbo-root" content="/a&quot;b">'
    )


class _Reader(HTMLParser):
    """Collects the first tag, and fails on anything that follows out of place."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


@given(st.text(min_size=1), st.text())
def test_a_parser_reads_back_whatever_was_put_in(target: str, value: str) -> None:
    reader = _Reader()

    reader.feed(element("remove", target=target, attributes={"data-x": value}))

    assert reader.tags == [
        (
            "turbo-stream",
            [("action", "remove"), ("target", target), ("data-x", value)],
        )
    ]


def saved(instance: models.Model) -> models.Model:
    instance._state.adding = False
    return instance


def test_dom_id_of_a_saved_instance() -> None:
    assert dom_id(saved(Room(pk=1))) == "room_1"


def test_dom_id_with_a_prefix() -> None:
    assert dom_id(saved(Room(pk=1)), "edit") == "edit_room_1"


def test_dom_id_of_a_new_instance() -> None:
    assert dom_id(Room()) == "new_room"
    assert dom_id(Room(), "edit") == "edit_room"


def test_dom_id_of_a_class() -> None:
    assert dom_id(Message) == "new_message"
    assert dom_id(Message, "search") == "search_message"
    assert dom_id(AbstractBase) == "new_abstract_base"


def test_dom_id_of_a_new_instance_that_has_a_key_already() -> None:
    item = UuidItem()

    assert item.pk is not None
    assert dom_id(item) == "new_uuid_item"


def test_dom_id_of_a_uuid() -> None:
    key = uuid.UUID("6a6f8f1e-1d3b-4d6b-9a52-0f8b5a0b7a11")

    assert dom_id(saved(UuidItem(pk=key))) == f"uuid_item_{key}"


def test_dom_id_of_a_composite_key() -> None:
    assert dom_id(saved(CompositeItem(tenant=3, number=7))) == "composite_item_3_7"
    assert dom_id(saved(CompositeItem(tenant=3))) == "new_composite_item"


def test_dom_id_of_a_proxy_is_that_of_its_model() -> None:
    assert dom_id(saved(ProxyRoom(pk=1))) == "room_1"


def test_dom_id_of_a_child_is_its_own() -> None:
    assert dom_id(saved(Child(pk=4))) == "child_4"


def test_dom_id_of_a_lazy_object() -> None:
    assert dom_id(SimpleLazyObject(lambda: saved(Room(pk=1)))) == "room_1"


@pytest.mark.parametrize("value", ["room_1", None, 3, int])
def test_dom_id_of_anything_else(value: object) -> None:
    with pytest.raises(TypeError) as caught:
        dom_id(value)

    assert str(caught.value) == (
        f"dom_id() takes a model or an instance of one, not {value!r}. An id that is a "
        f"string already needs no dom_id()."
    )
