"""Capture broadcasts, and compare them with what a test expects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async

from turbo.delivery.audiences import by_audience
from turbo.delivery.recorders import recording
from turbo.streams.registry import resolve
from turbo.testing.commits import PendingHooks
from turbo.testing.elements import StreamElement, read_elements
from turbo.testing.expectation import Expectation

__all__ = [
    "BroadcastCapture",
    "assert_broadcasts",
    "assert_no_broadcasts",
    "capture_broadcasts",
]


class BroadcastCapture:
    """
    The broadcasts of a block; a context manager, also for ``async with``.

    With ``deliver`` they are also sent to subscribers.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        deliver: bool = False,
        check: Callable[[BroadcastCapture], None] | None = None,
    ) -> None:
        self._names = frozenset(names)
        self._deliver = deliver
        self._check = check
        self._stack = ExitStack()
        #: The elements sent to the given streams, or to all streams if none was given.
        self.elements: list[StreamElement] = []
        #: All messages of the block: pairs of a stream's name and its data.
        self.messages: list[tuple[str, str]] = []
        #: The errors logged in the block, which may explain why nothing was sent.
        self.errors: list[str] = []

    def commit(self) -> None:
        """Run the hooks that wait for a commit."""
        self._hooks.run()

    def __enter__(self) -> list[StreamElement]:
        self._hooks = PendingHooks()
        self._stack.enter_context(recording(self._record, sends=self._deliver))
        self._stack.enter_context(_errors_into(self.errors))
        return self.elements

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if exc is None:
                self.commit()
        if exc is None and self._check is not None:
            self._check(self)

    async def __aenter__(self) -> list[StreamElement]:
        """Async version of __enter__()."""
        return await sync_to_async(self.__enter__)()

    async def __aexit__(self, *exc_info: Any) -> None:
        """Async version of __exit__()."""
        await sync_to_async(self.__exit__)(*exc_info)

    def _record(self, name: str, data: str) -> bool:
        self.messages.append((name, data))
        if not self._names or name in self._names:
            for audience, form in by_audience(data).items():
                self.elements += read_elements(form or "", name, audience)
        return self._deliver


def capture_broadcasts(*streams: Any, deliver: bool = False) -> BroadcastCapture:
    """
    Capture the broadcasts of a block, to these streams or to any.

    ::

        with capture_broadcasts(room) as sent:
            Message.objects.create(room=room, text="Hi")

        assert [(element.action, element.target) for element in sent] == [
            ("append", "messages"),
        ]

    At the end of the block, the hooks run that wait for a commit, which never comes in
    a ``TestCase``; until then ``sent`` may be empty. Pass streams as to
    ``turbo_subscribe``: a model instance, a name, a stream or its class.
    """
    return BroadcastCapture(map(_name_of, streams), deliver=deliver)


def assert_broadcasts(
    stream: Any,
    *,
    count: int | None = None,
    action: str | None = None,
    target: object = None,
    selector: str | None = None,
    audience: str | None = None,
    deliver: bool = False,
) -> BroadcastCapture:
    """
    Fail unless the block broadcasts matching elements to ``stream``.

    ::

        with assert_broadcasts(room, count=1, action="append", target="messages"):
            Message.objects.create(room=room, text="Hi")

    Without ``count``, at least one element must match. ``target`` is an id, or an
    instance, which stands for its ``dom_id``. With an ``audience``, only the elements
    count that it gets, which includes those for all audiences. The block gets the
    elements as from :func:`capture_broadcasts`.
    """
    name = _name_of(stream)
    wanted = Expectation.of(
        count=count,
        action=action,
        target=target,
        selector=selector,
        audience=audience,
    )

    def check(capture: BroadcastCapture) -> None:
        found = len(wanted.matching(capture.elements))
        if not wanted.is_met_by(found):
            raise AssertionError(
                f"Expected {wanted} for {name!r}, but got {found}.\n{_report(capture)}"
            )

    return BroadcastCapture([name], deliver=deliver, check=check)


def assert_no_broadcasts(*streams: Any, deliver: bool = False) -> BroadcastCapture:
    """
    Fail if the block broadcasts anything to these streams, or to any.

    ::

        with assert_no_broadcasts(room):
            room.save(update_fields=["visited"])
    """
    names = list(map(_name_of, streams))

    def check(capture: BroadcastCapture) -> None:
        sent = [name for name, _ in capture.messages if not names or name in names]
        if sent:
            wanted = ", ".join(map(repr, names)) or "any stream"
            raise AssertionError(
                f"Expected nothing for {wanted}, but got {len(sent)}.\n"
                f"{_report(capture)}"
            )

    return BroadcastCapture(names, deliver=deliver, check=check)


def _name_of(stream: Any) -> str:
    return resolve(stream).stream_name


def _report(capture: BroadcastCapture) -> str:
    lines = [
        f"  {name}  {form or 'a gap'}" + (f"  (for {audience})" if audience else "")
        for name, data in capture.messages
        for audience, form in by_audience(data).items()
        if form != "" or not audience
    ]
    lines = ["Sent meanwhile:", *lines] if lines else ["Nothing was sent."]
    if capture.errors:
        lines += ["Errors meanwhile:", *(f"  {error}" for error in capture.errors)]
    return "\n".join(lines)


class _ErrorList(logging.Handler):
    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        reason = f" {type(cause).__name__}: {cause}" if cause else ""
        self._errors.append(record.getMessage() + reason)


@contextmanager
def _errors_into(errors: list[str]) -> Iterator[None]:
    logger, handler = logging.getLogger("turbo"), _ErrorList(errors)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
