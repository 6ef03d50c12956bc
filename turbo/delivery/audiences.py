"""
Messages that each audience of a stream gets in its own form.

The log and the channel layer have one message with all forms, so all pages have the
same numbers. The process that serves the pages sends to each of them only the form of
its audience.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from turbo.delivery.frame import Frame
from turbo.delivery.marked import MARK, mark, unmark
from turbo.delivery.protocol import message_frame

__all__ = ["AudienceFrames", "Forms", "by_audience", "frames_of", "pack_forms"]

KIND = "audiences"

#: The form of a message for each audience that its stream declares: ``""`` if it gets
#: nothing but the number, and ``None`` if it gets a gap.
Forms: TypeAlias = Mapping[str, str | None]


def pack_forms(forms: Forms) -> str:
    r"""
    Return the data of a message; it is plain if all audiences get the same.

    >>> pack_forms({"member": "<b>", "moderator": "<i>"})
    '\x02["audiences",{"member":"<b>","moderator":"<i>"}]'
    >>> pack_forms({"member": "<b>", "moderator": "<b>"})
    '<b>'
    """
    first, *others = forms.values()
    if first is not None and all(form == first for form in others):
        return first
    return mark(KIND, forms)


def by_audience(data: str) -> Mapping[str | None, str | None]:
    """
    Return the forms of a message; the one for all audiences has the key ``None``.

    >>> by_audience("<b>"), by_audience(pack_forms({"member": "", "moderator": "<i>"}))
    ({None: '<b>'}, {'member': '', 'moderator': '<i>'})
    """
    return {None: data} if data[:1] != MARK else dict(_forms(data).items())


def _forms(data: str) -> Forms:
    """Return the forms in marked data; none if this process cannot read them."""
    kind, forms = unmark(data) or ("", None)
    return forms if kind == KIND and isinstance(forms, dict) else {}


class AudienceFrames:
    """The frames of one message, one for each audience, made when they are needed."""

    __slots__ = ("_forms", "_frames", "_position", "_sid")

    def __init__(self, sid: str, position: str, forms: Forms) -> None:
        self._sid = sid
        self._position = position
        self._forms = forms
        self._frames: dict[str, Frame] = {}

    def of(self, audience: str) -> Frame:
        """
        Return the frame for one audience.

        It is a gap for an audience that the sender has not declared: a process with
        another version of the stream serves the page.
        """
        if (frame := self._frames.get(audience)) is None:
            # Without a number nothing is missing.
            data = self._forms.get(audience, None if self._position else "")
            text = message_frame(self._sid, position=self._position, data=data)
            frame = self._frames[audience] = Frame(text)
        return frame


def frames_of(sid: str, position: str, data: str | None) -> Frame | AudienceFrames:
    """Return the frame of a message, or its frames if audiences get different ones."""
    if data is None or data[:1] != MARK:
        return Frame(message_frame(sid, position=position, data=data))
    return AudienceFrames(sid, position, _forms(data))
