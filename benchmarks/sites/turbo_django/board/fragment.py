"""The list item that every system sends, in a message of 340 bytes."""

from __future__ import annotations

_ITEM = '<li id="message-1234567" class="message"><b>ann</b> <time>12:34</time> {}</li>'
_FILL = (
    340
    - len(
        '<turbo-stream action="append" target="messages"><template>'
        "</template></turbo-stream>"
    )
    - len(_ITEM.format(""))
)

FRAGMENT = _ITEM.format(("lorem ipsum dolor " * 20)[:_FILL])
