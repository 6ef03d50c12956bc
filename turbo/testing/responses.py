"""Assertions about the stream elements in a response."""

from __future__ import annotations

from django.http.response import HttpResponseBase

from turbo.shortcuts import STREAM_CONTENT_TYPE
from turbo.testing.elements import StreamElement, read_elements
from turbo.testing.expectation import Expectation

__all__ = ["ACCEPT_STREAMS", "assert_no_turbo_stream", "assert_turbo_stream"]

#: The headers with which Turbo submits a form and accepts a response of elements.
ACCEPT_STREAMS = {"Accept": f"{STREAM_CONTENT_TYPE}, text/html, application/xhtml+xml"}


def assert_turbo_stream(
    response: HttpResponseBase,
    *,
    action: str | None = None,
    target: object = None,
    selector: str | None = None,
    count: int | None = None,
    status: int = 200,
) -> list[StreamElement]:
    """
    Fail unless ``response`` has matching elements, and return them.

    ::

        response = client.post("/messages/", data, headers=ACCEPT_STREAMS)

        [form] = assert_turbo_stream(response, action="update", target="new_message")
        assert 'name="text"' in form.html

    Without ``count``, at least one element must match.
    """
    wanted = Expectation.of(
        count=count, action=action, target=target, selector=selector
    )
    if response.status_code != status or not _is_stream(response):
        raise AssertionError(
            f"Expected a stream of elements with status {status}, but got "
            f"{_described(response)}"
        )
    found = wanted.matching(_elements(response))
    if not wanted.is_met_by(len(found)):
        raise AssertionError(
            f"Expected {wanted}, but got {len(found)}.\n{_report(response)}"
        )
    return found


def assert_no_turbo_stream(
    response: HttpResponseBase,
    *,
    action: str | None = None,
    target: object = None,
    selector: str | None = None,
) -> None:
    """Fail if ``response`` has a matching element."""
    wanted = Expectation.of(count=0, action=action, target=target, selector=selector)
    found = wanted.matching(_elements(response)) if _is_stream(response) else []
    if found:
        raise AssertionError(
            f"Expected {wanted}, but got {len(found)}.\n{_report(response)}"
        )


def _is_stream(response: HttpResponseBase) -> bool:
    return _content_type(response).partition(";")[0] == STREAM_CONTENT_TYPE


def _content_type(response: HttpResponseBase) -> str:
    value: str = response.headers.get("Content-Type", "")
    return value


def _elements(response: HttpResponseBase) -> list[StreamElement]:
    return read_elements(_body(response))


def _body(response: HttpResponseBase) -> str:
    return response.getvalue().decode(response.charset)


def _described(response: HttpResponseBase) -> str:
    parts = [f"status {response.status_code}", _content_type(response)]
    if location := response.headers.get("Location"):
        parts.append(f"a redirect to {location}")
    if not _is_stream(response):
        parts.append("(does the request say headers=ACCEPT_STREAMS?)")
    return " ".join(filter(None, parts))


def _report(response: HttpResponseBase) -> str:
    elements = _elements(response)
    lines = [f"  {element}" for element in elements]
    return "\n".join(
        ["The response has:", *lines] if lines else ["The response has no elements."]
    )
