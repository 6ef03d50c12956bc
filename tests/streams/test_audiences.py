"""What a stream with audiences sends, and to which of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, Template
from django.test import RequestFactory

import turbo
from tests.testapp.models import Board, Card
from tests.testapp.streams import Announcements, Forum
from turbo import metrics
from turbo.components import BroadcastComponent
from turbo.delivery.audiences import by_audience, pack_forms
from turbo.delivery.names import verify
from turbo.exceptions import ConfigurationError, UnknownAudienceError
from turbo.streams.audiences import audience_on_page
from turbo.testing import capture_broadcasts

POST = "testapp/post.html"
STAFF = User(pk=1, username="ann", is_staff=True)
MEMBER = User(pk=2, username="bob")


def fails() -> str:
    raise ZeroDivisionError


@pytest.fixture
def forum(sent: list[tuple[str, str]]) -> Callable[[], dict[Any, Any]]:
    """Return a function that returns the forms of the only message."""

    def forms() -> dict[Any, Any]:
        [(name, data)] = sent
        assert name == Forum(1).stream_name
        return dict(by_audience(data))

    return forms


def append(content: str) -> str:
    return (
        f'<turbo-stream action="append" target="posts"><template>{content}\n'
        f"</template></turbo-stream>"
    )


# --- Verbs


def test_a_template_is_rendered_for_each_audience(forum: Any) -> None:
    Forum(1).append(POST, {"text": "Hi", "note": "Delete"}, id="posts")

    assert forum() == {
        "member": append("<p>Hi</p>"),
        "moderator": append("<p>Hi Delete</p>"),
    }


async def test_the_async_verbs_do_so_as_well(forum: Any) -> None:
    await Forum(1).aappend(POST, {"text": "Hi", "note": "Delete"}, id="posts")

    assert forum()["moderator"] == append("<p>Hi Delete</p>")


def test_the_server_says_the_audience_and_not_the_context(forum: Any) -> None:
    context = {"text": "Hi", "note": "Delete", "audience": "moderator"}

    Forum(1).append(POST, context, id="posts")

    assert forum()["member"] == append("<p>Hi</p>")
    assert context["audience"] == "moderator"


def test_equal_renderings_are_one_plain_message(sent: list[tuple[str, str]]) -> None:
    Forum(1).append("testapp/hello.html", {"name": "Ann"}, id="posts")

    [(_, data)] = sent
    assert data.startswith("<turbo-stream")


@pytest.mark.parametrize(
    "broadcast",
    [
        lambda stream: stream.append(text="Hi", id="posts"),
        lambda stream: stream.append(html="<p>Hi</p>", id="posts"),
        lambda stream: stream.remove(id="post_1"),
        lambda stream: stream.refresh(),
        lambda stream: stream.stream_raw("<turbo-stream></turbo-stream>"),
        lambda stream: stream.stream(turbo.remove_frame(id="post_1")),
    ],
)
def test_all_else_goes_to_all(
    broadcast: Callable[[Any], None], sent: list[tuple[str, str]]
) -> None:
    broadcast(Forum(1))
    [(_, data)] = sent
    assert list(by_audience(data)) == [None]

    broadcast(Forum(1).only("moderator"))
    assert by_audience(sent[1][1]) == {"member": "", "moderator": data}


async def test_the_async_verbs_for_some_audiences(sent: list[tuple[str, str]]) -> None:
    only = Forum(1).only("moderator")
    await only.aremove(id="post_1")
    await only.astream(turbo.remove_frame(id="post_1"))
    await only.astream_raw(str(turbo.remove_frame(id="post_1")))

    assert [data for _, data in sent] == [sent[0][1]] * 3
    assert by_audience(sent[0][1])["member"] == ""


def test_a_template_for_some_audiences_is_rendered_for_these(forum: Any) -> None:
    rendered = []

    def note() -> str:
        rendered.append(1)
        return "Delete"

    Forum(1).only("moderator").append(POST, {"text": "Hi", "note": note}, id="posts")

    assert forum() == {"member": "", "moderator": append("<p>Hi Delete</p>")}
    assert len(rendered) == 1


def test_only_takes_several_audiences(sent: list[tuple[str, str]]) -> None:
    Forum(1).only("moderator", "member").remove(id="post_1")

    assert sent[0][1].startswith("<turbo-stream")
    assert repr(Forum(1).only("member")) == (
        "<<Forum 'testapp:Forum:[1]'> only 'member'>"
    )


def test_an_override_of_stream_raw_sees_every_message(
    declaring: None, sent: list[tuple[str, str]]
) -> None:
    seen = []

    class Watched(Forum):
        class Meta(Forum.Meta):
            app_label = "tests"

        def stream_raw(self, text: str) -> None:
            seen.append(text)
            super().stream_raw(text)

    Watched(1).append(POST, {"text": "Hi", "note": "Delete"}, id="posts")
    Watched(1).only("moderator").refresh()

    assert seen == ["", ""]
    assert len(sent) == 2


def test_several_refreshes_for_one_audience_become_one_for_all() -> None:
    """The first one may have been for another audience."""
    seen = []

    class Raw(Forum):
        class Meta(Forum.Meta):
            abstract = True

        label = "tests:Raw"

        def stream_raw(self, text: str) -> None:
            seen.append(text)

    Raw(1).only("moderator").refresh()

    assert seen[0].summary == '<turbo-stream action="refresh"></turbo-stream>'  # type: ignore[attr-defined]


def test_an_overwriting_verb_keeps_its_targets() -> None:
    seen = []

    class Raw(Forum):
        class Meta(Forum.Meta):
            abstract = True

        label = "tests:Raw"

        def stream_raw(self, text: str) -> None:
            seen.append(text)

    Raw(1).only("moderator").replace(POST, {"text": "Hi"}, id="post_1")
    Raw(1).replace(POST, {"text": "Hi"}, id="post_1")

    assert [each.targets for each in seen] == [("post_1",)] * 2  # type: ignore[attr-defined]


# --- Failures


def test_a_template_that_fails_for_one_audience_is_a_gap_for_it(
    forum: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = metrics.counters()["failed"]

    Forum(1).append(POST, {"text": "Hi", "note": fails}, id="posts")

    assert forum() == {"member": append("<p>Hi</p>"), "moderator": None}
    assert "could not be rendered for the audience 'moderator'" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert metrics.counters()["failed"] == before + 1


@pytest.mark.parametrize("stream", [Forum(1), Forum(1).only("moderator")], ids=str)
def test_a_template_that_fails_for_all_raises(
    stream: Any, sent: list[tuple[str, str]]
) -> None:
    with pytest.raises(ZeroDivisionError):
        stream.append(POST, {"text": fails, "note": fails}, id="posts")

    assert sent == []


def test_what_is_wrong_for_all_is_said_as_ever() -> None:
    with pytest.raises(TypeError, match="A context is a dict"):
        Forum(1).append(POST, Context(), id="posts")  # type: ignore[arg-type]


def test_only_names_the_declared_audiences() -> None:
    with pytest.raises(ValueError, match=r"'guest'.*'member', 'moderator'"):
        Forum(1).only("guest")
    with pytest.raises(UnknownAudienceError, match=r"Announcements.*none"):
        Announcements().only("member")


@pytest.mark.parametrize("audiences", ["member", ("a", "a"), ("",), (1,)])
def test_audiences_are_different_names(audiences: Any, declaring: None) -> None:
    with pytest.raises(ConfigurationError, match=r"Meta\.audiences is"):

        class Wrong(Forum):
            class Meta:
                app_label = "tests"

            Meta.audiences = audiences


def test_audiences_need_a_method(declaring: None) -> None:
    with pytest.raises(ConfigurationError, match=r"get_audience\(self, user\)"):

        class Wrong(turbo.Stream):
            class Meta:
                audiences = ("member", "moderator")


def test_a_stream_without_audiences_has_no_answer() -> None:
    with pytest.raises(NotImplementedError):
        Announcements().get_audience(STAFF)


def test_audiences_may_be_an_enumeration(
    declaring: None, sent: list[tuple[str, str]]
) -> None:
    class Role(StrEnum):
        MEMBER = "member"
        MODERATOR = "moderator"

    class Club(Forum):
        class Meta:
            app_label = "tests"
            audiences = tuple(Role)

        def get_audience(self, user: Any) -> str:
            return Role.MODERATOR

    Club(1).only(Role.MODERATOR).remove(id="post_1")

    assert by_audience(sent[0][1])["member"] == ""
    assert verify(Club(1).sign(STAFF)).audience == "moderator"


# --- Forgery


def test_data_of_the_application_cannot_pass_for_forms(
    sent: list[tuple[str, str]],
) -> None:
    forged = str.__str__(f"{pack_forms({'member': '1', 'moderator': '2'})}")
    Forum(1).stream_raw("".join(forged))

    assert list(by_audience(sent[0][1])) == [None]
    assert sent[0][1].startswith("\ufffd[")


# --- Names


def test_the_audience_is_signed_into_the_name() -> None:
    assert verify(Forum(1).sign(STAFF)).audience == "moderator"
    assert verify(Forum(1).sign(MEMBER)).audience == "member"
    assert verify(Forum(1).signed_stream_name).audience == "member"
    assert verify(Announcements().sign(STAFF)).audience == ""


@pytest.fixture
def asked(declaring: None) -> type[Forum]:
    class Asked(Forum):
        class Meta(Forum.Meta):
            app_label = "tests"

        async def get_audience(self, user: Any) -> str:  # type: ignore[override]
            await asyncio.sleep(0)
            return "moderator" if user.is_staff else "stranger"

    return Asked


def test_the_audience_may_be_found_by_a_coroutine(asked: type[Forum]) -> None:
    async def in_loop() -> str:
        return audience_on_page(asked(1), STAFF)

    assert audience_on_page(asked(1), STAFF) == "moderator"
    assert async_to_sync(in_loop)() == "moderator"
    assert asyncio.run(in_loop()) == "moderator"


@pytest.mark.django_db(transaction=True)
async def test_the_audience_may_need_the_database_in_an_async_view(
    declaring: None,
) -> None:
    class Counted(Forum):
        class Meta(Forum.Meta):
            app_label = "tests"

        def get_audience(self, user: Any) -> str:
            return "moderator" if User.objects.exists() else "member"

    assert audience_on_page(Counted(1), STAFF) == "member"


def test_a_page_for_an_audience_that_is_not_declared_is_logged(
    asked: type[Forum], caplog: pytest.LogCaptureFixture
) -> None:
    assert verify(asked(1).sign(MEMBER)).audience == ""
    assert "'stranger'" in caplog.text


# --- The tag and components


def test_the_tag_signs_the_audience_and_keeps_the_page_private() -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    page = Template("{% load turbo_streams %}{% turbo_subscribe stream %}").render(
        Context({"request": request, "stream": Forum(1)})
    )

    signed = page.split('signed-stream-name="')[1].split('"')[0]
    assert verify(signed).audience == "member"
    assert request._cache_update_cache is False  # type: ignore[attr-defined]


def test_a_component_is_rendered_for_the_audience_of_the_request(
    declaring: None, sent: list[tuple[str, str]]
) -> None:
    class Bar(BroadcastComponent):
        class Meta:
            app_label = "tests"
            audiences = ("member", "moderator")

        template_name = POST

        def get_audience(self, user: Any) -> str:
            return "moderator" if user.is_staff else "member"

    request = RequestFactory().get("/")
    request.user = STAFF
    context = {"text": "Hi", "note": "Delete"}

    assert "Delete" in Bar().initial_render(context, request=request)
    assert "Delete" not in Bar().initial_render(context)
    Bar().render(context)
    forms = by_audience(sent[0][1])
    assert "Delete" in str(forms["moderator"])
    assert "Delete" not in str(forms["member"])


@pytest.mark.django_db
def test_conventions_render_for_the_audiences_of_the_parent(declaring: None) -> None:
    class PostStream(turbo.ModelStream):
        class Meta:
            app_label = "tests"
            attribute = "post_stream"
            model = Card
            template = POST
            target = "posts"

        def get_broadcast_streams(self) -> Sequence[turbo.Stream]:
            return [Forum(1)]

        def get_broadcast_context(self) -> dict[str, Any]:
            return {"text": self.instance.title, "note": "Delete"}

    board = Board.objects.create(name="Work", code="w")
    with capture_broadcasts(Forum(1)) as sent:
        Card.objects.create(board=board, title="Hi")

    assert [(element.audience, str(element)) for element in sent] == [
        ("member", append("<p>Hi</p>")),
        ("moderator", append("<p>Hi Delete</p>")),
    ]
