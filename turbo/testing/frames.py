"""Assertions about the frames in a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Model
from django.http.response import HttpResponseBase

from turbo.streams.html import dom_id
from turbo.testing.parsing import PlacedParser

__all__ = ["assert_no_turbo_frame", "assert_turbo_frame"]


@dataclass(slots=True)
class _Frame:
    """A ``<turbo-frame>``: its start tag, its attributes and its content."""

    tag: str
    attributes: Mapping[str, str | None]
    content: int
    html: str = ""

    def has(self, wanted: Mapping[str, object]) -> bool:
        attributes = {name: self.attributes.get(name) for name in wanted}
        return attributes == wanted


def assert_turbo_frame(
    response: HttpResponseBase,
    id: object,
    prefix: str | None = None,
    *,
    src: str | None = None,
    loading: str | None = None,
    target: str | None = None,
    status: int = 200,
) -> str:
    """
    Fail unless ``response`` has this frame; return the HTML inside it.

    ::

        headers = {"Turbo-Frame": dom_id(room, "edit")}
        response = client.get(f"/rooms/{room.pk}/edit/", headers=headers)

        assert 'name="name"' in assert_turbo_frame(response, room, "edit")

    Name the frame as in ``{% turbo_frame %}``: by its id, or by an instance, which
    stands for its ``dom_id``, with an optional prefix.
    """
    wanted = _wanted(id, prefix, src=src, loading=loading, target=target)
    if response.status_code != status:
        raise AssertionError(
            f"Expected {_described(wanted)} with status {status}, but got status "
            f"{response.status_code}.\n{_report(response)}"
        )
    for frame in _frames(response):
        if frame.has(wanted):
            return frame.html
    raise AssertionError(
        f"Expected {_described(wanted)}, but got none.\n{_report(response)}"
    )


def assert_no_turbo_frame(
    response: HttpResponseBase, id: object, prefix: str | None = None
) -> None:
    """Fail if ``response`` has this frame."""
    wanted = _wanted(id, prefix)
    if any(frame.has(wanted) for frame in _frames(response)):
        raise AssertionError(
            f"Expected no {_described(wanted)}, but got it.\n{_report(response)}"
        )


def _wanted(id: object, prefix: str | None, **attributes: object) -> dict[str, object]:
    name = dom_id(id, prefix) if isinstance(id, Model | type) else str(id)
    given = {key: value for key, value in attributes.items() if value is not None}
    return {"id": name} | given


def _described(wanted: Mapping[str, object]) -> str:
    attributes = "".join(f' {name}="{value}"' for name, value in wanted.items())
    return f"<turbo-frame{attributes}>"


def _report(response: HttpResponseBase) -> str:
    lines = [f"  {frame.tag}" for frame in _frames(response)]
    return "\n".join(
        ["The response has:", *lines] if lines else ["The response has no frames."]
    )


def _frames(response: HttpResponseBase) -> list[_Frame]:
    reader = _Reader(response.getvalue().decode(response.charset))
    reader.read()
    return reader.frames


class _Reader(PlacedParser):
    """Find all frames, including those inside other frames."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[_Frame] = []
        self.frames: list[_Frame] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "turbo-frame":
            opening = self.get_starttag_text() or ""
            frame = _Frame(opening, dict(attrs), self.end_of_tag())
            self._open.append(frame)
            self.frames.append(frame)

    def handle_endtag(self, tag: str) -> None:
        if tag == "turbo-frame" and self._open:
            frame = self._open.pop()
            frame.html = self.text[frame.content : self.start_of_tag()]
