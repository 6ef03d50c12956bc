"""
Streams: what pages subscribe to, and what the application broadcasts to.

A stream is declared in an app's ``streams.py``; its name is ``"<app label>:<class>"``::

    class Announcements(turbo.Stream):
        pass

    Announcements().append("chat/announcement.html", {"text": "Hi"}, id="news")
    # Sends <turbo-stream action="append" target="news"><template>…</template>
    # </turbo-stream> to the stream named "chat:Announcements".
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar

from turbo.conf import get_settings
from turbo.delivery.audiences import pack_forms
from turbo.delivery.broadcast import broadcast, moment, moment_if_waiting
from turbo.delivery.names import decode_args, encode_args, sign, stream_id
from turbo.exceptions import ConfigurationError
from turbo.runtime.context import current_since
from turbo.runtime.namespaces import in_namespace
from turbo.runtime.threads import in_database_thread, in_waiting_thread
from turbo.streams.audiences import SelectedAudiences, audience_on_page
from turbo.streams.emitter import Elements
from turbo.streams.options import Options
from turbo.streams.present import akeys_of, keys_of, users_of
from turbo.streams.progress import StreamProgress
from turbo.streams.registry import label_of, register
from turbo.streams.text import StreamText
from turbo.streams.verbs import Verbs

__all__ = ["Stream"]


class Stream(Verbs[None]):
    """
    A stream, to which pages subscribe by name.

    A stream with arguments takes them in ``__init__`` and returns them from
    :meth:`get_init_args` and :meth:`get_init_kwargs`; they become part of its name, so
    they must be JSON values.
    """

    #: ``"<app label>:<class>"``, the name of a stream without arguments.
    label: ClassVar[str]
    options: ClassVar[Options] = Options(abstract=True)
    #: So that pytest takes no class named ``Test…`` for a test.
    __test__: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.options = Options.of(cls)
        cls._audiences = cls.options.audiences
        if cls._audiences and not cls.options.abstract:
            cls._require_get_audience()
        if not cls.options.abstract:
            cls.label = label_of(cls, app_label=cls.options.app_label)
            register(cls)

    @classmethod
    def _require_get_audience(cls) -> None:
        if cls.get_audience is Stream.get_audience:
            raise ConfigurationError(
                f"{cls.__module__}.{cls.__qualname__} has Meta.audiences, so it needs "
                f"a method get_audience(self, user) that returns one of them."
            )

    def get_init_args(self) -> Sequence[Any]:
        """Return the positional arguments with which to create this stream again."""
        return ()

    def get_init_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments with which to create this stream again."""
        return {}

    @classmethod
    def from_args_text(cls, text: str) -> Stream:
        """Return the stream whose name ends in ``text``."""
        args, kwargs = decode_args(text)
        return cls(*args, **kwargs)

    def args_text(self) -> str:
        """Return the arguments as the last part of the name."""
        return encode_args(tuple(self.get_init_args()), self.get_init_kwargs())

    @property
    def stream_name(self) -> str:
        """
        Return the name; all subscribers to one name get the same messages.

        It begins with the namespace of the moment, if there is one.
        """
        args = self.args_text()
        name = in_namespace(f"{self.label}:{args}" if args else self.label)
        longest = get_settings().max_name_length
        if len(name) > longest:
            raise ConfigurationError(
                f"The stream name {name[:40]!r}… has {len(name)} characters; at most "
                f"{longest} are allowed (TURBO['MAX_NAME_LENGTH'])."
            )
        return name

    @property
    def signed_stream_name(self) -> str:
        """Return the signed name for a page, not bound to a user."""
        return self.sign()

    def sign(self, user: Any = None, *, since: str = "") -> str:
        """
        Return the signed name for a page that is rendered for ``user``.

        Nothing from before ``since`` is replayed to that page. This is a moment of the
        replay log; the default is the beginning of the current request, or now.
        """
        since = since or current_since() or moment()
        audience = audience_on_page(self, user)
        return sign(self.stream_name, user=user, since=since, audience=audience)

    @property
    def stream_id(self) -> str:
        """Return the id of this stream on the wire."""
        return stream_id(self.stream_name)

    def user_passes_test(self, user: Any) -> bool:
        """
        Return whether ``user`` may see this stream; may be ``async def``.

        Called at each subscription, and again every ``RECHECK_INTERVAL`` seconds.
        """
        return True

    def present_users(self) -> Sequence[Any]:
        """
        Return the users whose pages show this stream, in the order of joining.

        This needs ``Meta.presence = True``. The users come with one query.
        """
        return users_of(keys_of(self))

    async def apresent_users(self) -> Sequence[Any]:
        """Async version of present_users()."""
        keys = await akeys_of(self)
        return await in_database_thread(users_of, keys)

    @classmethod
    def tests_user(cls) -> bool:
        """Return whether this class has its own ``user_passes_test()``."""
        return cls.user_passes_test is not Stream.user_passes_test

    def get_audience(self, user: Any) -> str | Awaitable[str]:
        """
        Return the audience of ``Meta.audiences`` that ``user`` is in; may be async.

        Called together with :meth:`user_passes_test`, and when a page is rendered.
        """
        raise NotImplementedError

    def asks_about_user(self) -> bool:
        """Return whether this stream has to be asked about each user."""
        return bool(self._audiences) or self.tests_user()

    def only(self, audience: str, *others: str) -> SelectedAudiences:
        """
        Return the verbs for these audiences; the others get nothing.

        ``stream.only("moderator").append("chat/report.html", {…}, id="reports")``.
        Raises :exc:`~turbo.exceptions.UnknownAudienceError` if one is not declared.
        """
        return SelectedAudiences(self, [audience, *others])

    def stream(self, frame: Any) -> None:
        """
        Broadcast rendered elements: ``stream(render_frame(…).append(…))``.

        All verbs call this method with their element. It calls :meth:`stream_raw`.
        """
        self.stream_raw(str(frame))

    def stream_raw(self, text: str) -> None:
        """
        Broadcast ``text`` as it is; it must be trusted ``<turbo-stream>`` HTML.

        All broadcasts of the stream pass through this method.
        """
        elements = text if isinstance(text, Elements) else Elements(text)
        forms = elements.forms
        broadcast(
            self.stream_name,
            elements if forms is None else pack_forms(forms),
            targets=elements.targets,
            summary=elements.summary,
            rendered=elements.rendered,
        )

    def text(self, *, id: object) -> StreamText:
        """
        Return a text that grows on the pages while it is written.

        ``with room.stream.text(id="answer-7") as answer: answer.write("Hello")``; the
        pages show it where ``{% turbo_text room "answer-7" %}`` stands.
        """
        return StreamText(self.stream_name, id)

    def progress(
        self, *, id: object, total: int | float | None = None
    ) -> StreamProgress:
        """
        Return the progress of a job.

        ``with job.stream.progress(id="import", total=9) as progress:
        progress.advance()``; the pages show it where
        ``{% turbo_progress job "import" %}`` stands.
        """
        return StreamProgress(self.stream_name, id, total=total)

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
        return f"<{type(self).__name__} {self.stream_name!r}>"
