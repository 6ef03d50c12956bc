"""
The audiences of a stream, each of which gets its own rendering of a message.

``Meta.audiences`` declares them, and ``get_audience(user)`` decides. A verb with a
template renders it once for each audience, with ``audience`` among its variables.
``stream.only("moderator")`` has the same verbs for some of the audiences; the pages of
the others get an empty message, so that the numbers of the messages have no hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from turbo.delivery.broadcast import moment_if_waiting
from turbo.exceptions import UnknownAudienceError
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import in_loop
from turbo.runtime.nobody import nobody
from turbo.runtime.threads import answer_of, in_waiting_thread, outside_loop
from turbo.streams.emitter import Elements
from turbo.streams.verbs import Verbs

if TYPE_CHECKING:
    from turbo.streams.stream import Stream

__all__ = ["SelectedAudiences", "audience_on_page", "declared"]


class SelectedAudiences(Verbs[None]):
    """
    The verbs of a stream for some of its audiences: ``stream.only("moderator")``.

    Whatever the content is, the pages of the other audiences do not get it.
    """

    def __init__(self, stream: Stream, audiences: Sequence[str]) -> None:
        self._stream = stream
        self._audiences = tuple(declared(stream, audience) for audience in audiences)

    def stream(self, frame: Any) -> None:
        """Broadcast rendered elements: ``stream(render_frame(…).append(…))``."""
        self.stream_raw(str(frame))

    def stream_raw(self, text: str) -> None:
        """Broadcast ``text``, which must be trusted ``<turbo-stream>`` HTML."""
        elements = text if isinstance(text, Elements) else Elements(text)
        forms = elements.forms or dict.fromkeys(self._audiences, str(text))
        nothing = dict.fromkeys(self._stream.options.audiences, "")
        self._stream.stream_raw(
            Elements.of(
                "",
                *elements.targets,
                summary=elements.summary,
                rendered=elements.rendered,
                forms=nothing | dict(forms),
            )
        )

    async def astream(self, frame: Any) -> None:
        """Async version of stream()."""
        await in_waiting_thread(self.stream, frame)

    async def astream_raw(self, text: str) -> None:
        """Async version of stream_raw()."""
        await in_waiting_thread(self.stream_raw, text)

    def _moment(self) -> str:
        return moment_if_waiting()

    def _emit(self, elements: Elements) -> None:
        self.stream(elements)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._audiences))
        return f"<{self._stream!r} only {names}>"


def declared(stream: Stream, audience: object) -> str:
    """Return an audience that the stream declares, or raise an exception."""
    known = stream.options.audiences
    if isinstance(audience, str) and audience in known:
        return known[known.index(audience)]  # of a StrEnum, its plain value
    raise UnknownAudienceError(stream.label, audience, known)


def audience_on_page(stream: Stream, user: Any) -> str:
    """
    Return the audience for which a page is rendered.

    It is ``""`` if the stream has none. So it is, with a line in the log, if
    ``get_audience()`` fails; the page's subscription is refused then.
    """
    if not stream.options.audiences:
        return ""
    user = nobody() if user is None else user

    def ask() -> str:
        return declared(stream, answer_of(stream.get_audience(user)))

    try:
        return outside_loop(ask) if in_loop() else ask()
    except Exception as error:
        log_failure(f"{stream.label}: get_audience() failed for a page.", error)
        return ""
