"""What is written reads back the same by the rules of the event-stream format."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbo.connections.sse_text import comment, event, retry


def parse(text: str) -> list[dict[str, str]]:
    """Read an event stream as the HTML standard tells browsers to."""
    events: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    for line in re.split(r"\r\n|\r|\n", text):
        name, _, value = line.partition(":")
        if line == "":
            if fields:
                events.append(fields)
            fields = {}
        elif name:
            value = value.removeprefix(" ")
            both = f"{fields[name]}\n{value}" if name in fields else value
            fields[name] = both
    return events


def test_event_is_one_block() -> None:
    assert event("<p>a</p>") == "data: <p>a</p>\n\n"


def test_event_has_all_its_fields() -> None:
    text = event("hello", id="k3:8", event="gap", retry_ms=2000)

    assert text == "event: gap\nid: k3:8\nretry: 2000\ndata: hello\n\n"


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_each_line_of_data_is_a_field(newline: str) -> None:
    text = event(f"a{newline}{newline}: b")

    assert text == "data: a\ndata: \ndata: : b\n\n"


def test_other_separators_are_no_newlines() -> None:
    assert event("a\x0b\x0c\x1c\x85\u2028b") == "data: a\x0b\x0c\x1c\x85\u2028b\n\n"


def test_an_empty_id_is_written() -> None:
    assert event("x", id="") == "id: \ndata: x\n\n"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_an_id_that_would_break_the_field_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is one line without NUL") as caught:
        event("x", id=value)

    assert str(caught.value) == (
        f"The id of a server-sent event is one line without NUL, not {value!r}."
    )


def test_an_event_type_that_would_break_the_field_is_refused() -> None:
    with pytest.raises(ValueError, match="The event of a server-sent event"):
        event("x", event="gap\ndata: forged")


def test_retry_stands_alone() -> None:
    assert retry(1500) == "retry: 1500\n\n"


def test_comment_is_a_sign_of_life() -> None:
    assert comment() == ": \n\n"
    assert comment("ping") == ": ping\n\n"


def test_comment_never_becomes_a_field() -> None:
    assert parse(comment("ping\ndata: forged")) == []


@given(st.text(), st.from_regex(r"[^\r\n\0]*", fullmatch=True))
def test_any_data_and_id_read_back(data: str, id: str) -> None:
    normalised = re.sub(r"\r\n|\r", "\n", data)

    assert parse(event(data, id=id)) == [{"id": id, "data": normalised}]
