"""
The HTML of growing texts and of progress: what pages get, and what tags render.

``<turbo-stream action="grow">`` puts text behind the first ``at`` characters of its
target, and ``<turbo-stream action="progress">`` sets what its target shows. The module
``text.js`` of the client performs them.
"""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

from django.utils.safestring import SafeString

from turbo.replay.texts import StoredText, TextKind, TextState
from turbo.streams import html
from turbo.streams.html import Attributes

__all__ = [
    "answer",
    "element",
    "progress_place",
    "progress_values",
    "text_tag",
    "unknown",
]

#: Elements whose first line break the browser leaves out.
_LINES = frozenset(["listing", "pre", "textarea"])
#: Elements that a text may be rendered in: any but those with rules of their own.
_REFUSED = frozenset(["script", "style", "template", "title", "iframe", "noscript"])


def element(
    id: str, run: int, at: int, kind: TextKind, state: TextState | None, data: str
) -> SafeString:
    """
    Return the element that brings a part of a text to pages.

    >>> element("answer-7", 17, 120, "text", None, "a < b")
    '<turbo-stream action="grow" target="answer-7" run="17" at="120">\
<template>a &lt; b</template></turbo-stream>'
    >>> element("answer-7", 17, 125, "html", "finished", "<p>a &lt; b</p>")
    '<turbo-stream action="grow" target="answer-7" run="17" at="125" state="finished" \
kind="html"><template><p>a &lt; b</p></template></turbo-stream>'
    >>> element("import-3", 17, 4, "progress", None, '{"value": 4, "total": 9}')
    '<turbo-stream action="progress" target="import-3" run="17" at="4" value="4" \
total="9"></turbo-stream>'
    """
    attributes: dict[str, object] = {"run": run, "at": at, "state": state}
    if kind == "progress":
        return html.element(
            "progress", target=id, attributes=attributes | json.loads(data)
        )
    if kind == "html":
        attributes["kind"] = "html"
    content = data if kind == "html" else _escaped(data)
    return html.element(
        "grow", target=id, content=content or None, attributes=attributes
    )


def answer(id: str, written: StoredText, *, run: int, at: int) -> SafeString:
    """Return what a page lacks that has a text up to ``at``, or another run of it."""
    if written.kind != "text":
        found, data = written.at, written.data
    else:
        found = at if run == written.run and 0 <= at <= written.at else 0
        data = written.data[found:]
    return element(id, written.run, found, written.kind, written.state, data)


def unknown(id: str) -> SafeString:
    """Return the answer about a text that nobody has written, or not for long."""
    return html.element("grow", target=id, attributes={"state": "none"})


def text_tag(
    id: str,
    stream: str,
    written: StoredText | None,
    *,
    tag: str,
    attributes: Attributes,
) -> SafeString:
    """
    Return the element in which a text grows, with what is written so far.

    >>> written = StoredText(17, 5, "writing", "text", "a < b")
    >>> text_tag("answer-7", "z7r3", written, tag="div", attributes={})
    '<div id="answer-7" data-turbo-text="z7r3" data-run="17" data-at="5" \
data-state="writing" aria-live="polite" aria-busy="true">a &lt; b</div>'
    """
    if tag.lower() in _REFUSED:
        raise ValueError(f"A text cannot grow in <{tag}>: name another tag.")
    if written is not None and written.kind == "progress":
        written = None
    content, own = "", state_of(written)
    if written is not None and written.kind == "html":
        content = written.data
    elif written is not None:
        content = _escaped(written.data)
        if tag.lower() in _LINES and content.startswith("\n"):
            content = f"\n{content}"
    place = {"id": id, "data-turbo-text": stream}
    busy = "true" if written is not None and written.state == "writing" else None
    live = {"aria-live": "polite", "aria-busy": busy}
    own = place | own
    return html.tag(tag, {**own, **live, **attributes, **own}, content)


def progress_place(id: str, stream: str, written: StoredText | None) -> SafeString:
    """Return the attributes of the element that shows a progress."""
    place = {"id": id, "data-turbo-progress": stream}
    return SafeString(html.attributes_text({**place, **state_of(written)}))


def progress_values(written: StoredText | None) -> dict[str, Any]:
    """Return the value, total, note and percentage, as far as they are known."""
    if written is None or written.kind != "progress":
        return {}
    values: dict[str, Any] = json.loads(written.data)
    if total := values["total"]:
        values["percent"] = math.floor(100 * values["value"] / total)
    return values


def state_of(written: StoredText | None) -> dict[str, object]:
    """Return the attributes that say how far a text or a progress is."""
    if written is None:
        return {}
    state = "failed" if written.state == "silent" else written.state
    return {"data-run": written.run, "data-at": written.at, "data-state": state}


def _escaped(text: str) -> str:
    # A parser would make a line feed of a carriage return.
    return escape(text, quote=False).replace("\r", "&#13;")
