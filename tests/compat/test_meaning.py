"""Calls that apps written for turbo-django 0.4 make mean what they meant there."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory

import turbo
from tests.testapp.models import Room
from turbo.components import BroadcastComponent, UserBroadcastComponent
from turbo.shortcuts import remove_frame, render_frame


class Bulletin(turbo.Stream):
    def announce(self, text: str) -> None:
        self.update(text=text, id="bulletin")

    def user_passes_test(self, user: Any) -> bool:
        return bool(user.is_authenticated)


class Alert(BroadcastComponent):
    template_name = "testapp/banner.html"


class Basket(UserBroadcastComponent):
    template_name = "testapp/banner.html"

    def get_context(self) -> dict[str, Any]:
        return {"text": 99}


@pytest.fixture
def request_() -> HttpRequest:
    return RequestFactory().post("/reminders/")


def test_a_stream_with_verbs_of_its_own(sent: list[tuple[str, str]]) -> None:
    Bulletin().announce("12:00: <noon>")

    assert sent == [
        (
            "tests:Bulletin",
            '<turbo-stream action="update" target="bulletin">'
            "<template>12:00: &lt;noon&gt;</template></turbo-stream>",
        )
    ]


def test_templates_ids_and_selectors(sent: list[tuple[str, str]]) -> None:
    Bulletin().append("testapp/hello.html", {"name": "Ann"}, id="people")
    Bulletin().replace(template="testapp/hello.html", context={}, selector=".person")
    Bulletin().remove(selector="#people li")
    Bulletin().remove("#people li")
    Bulletin().remove(None, "people")

    assert [data for _, data in sent] == [
        '<turbo-stream action="append" target="people">'
        "<template><p>Ann</p>\n</template></turbo-stream>",
        '<turbo-stream action="replace" targets=".person">'
        "<template><p></p>\n</template></turbo-stream>",
        '<turbo-stream action="remove" targets="#people li"></turbo-stream>',
        '<turbo-stream action="remove" targets="#people li"></turbo-stream>',
        '<turbo-stream action="remove" target="people"></turbo-stream>',
    ]


def test_frames_are_streamed(
    sent: list[tuple[str, str]], request_: HttpRequest
) -> None:
    frame = render_frame(request_, "testapp/hello.html", {"name": "Ann"})

    Bulletin().stream(frame.append(id="people"))
    frame.append(id="people").stream_to(Bulletin())
    Bulletin().stream_raw(str(frame.append(id="people")))

    html = (
        '<turbo-stream action="append" target="people">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
    )
    assert sent == [("tests:Bulletin", html)] * 3


def test_a_frame_without_action_is_not_streamed(sent: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="Call a verb first"):
        Bulletin().stream(turbo.render_frame_string("Hello"))

    assert sent == []


def test_frames_answer_a_form(request_: HttpRequest) -> None:
    response = (
        render_frame(request_, "testapp/hello.html", {"name": "Ann"})
        .replace(id="new-person")
        .response
    )

    assert (response.status_code, response.content.decode()) == (
        200,
        '<turbo-stream action="replace" target="new-person">'
        "<template><p>Ann</p>\n</template></turbo-stream>",
    )
    assert remove_frame(selector="#people li").response.content == (
        b'<turbo-stream action="remove" targets="#people li"></turbo-stream>'
    )


def test_a_frame_takes_its_selector_first(request_: HttpRequest) -> None:
    frame = render_frame(request_, "testapp/hello.html", {"name": "Ann"})

    assert str(frame.update(".alert_box")) == (
        '<turbo-stream action="update" targets=".alert_box">'
        "<template><p>Ann</p>\n</template></turbo-stream>"
    )


def test_an_instance_without_a_key_has_no_stream(sent: list[tuple[str, str]]) -> None:
    class Lobby(turbo.ModelStream):
        class Meta:
            model = Room
            attribute = "lobby_stream"

    with pytest.raises(ValueError, match="Save it first"):
        Room().lobby_stream.append(text="x", id="y")

    assert sent == []


def test_components_are_shown_and_rendered_again(sent: list[tuple[str, str]]) -> None:
    template = Template(
        '{% load turbo_streams %}{% turbo_component "tests:Alert" %}'
        '{% turbo_component "tests:Basket" user %}{% turbo_component basket %}'
    )
    user = User(pk=3)

    html = template.render(Context({"user": user, "basket": Basket(user)}))
    Alert().render(text="Restart in 10 minutes")
    Basket(user).render(text=25)

    assert html.count('<div class="tests:Alert" id="tests:Alert"><b></b>') == 1
    assert html.count('<div class="tests:Basket" id="tests:Basket:[3]"><b>99</b>') == 2
    assert html.count("<turbo-channels-stream-source ") == 3
    assert sent == [
        (
            "tests:Alert",
            '<turbo-stream action="update" target="tests:Alert">'
            "<template><b>Restart in 10 minutes</b>\n</template></turbo-stream>",
        ),
        (
            "tests:Basket:[3]",
            '<turbo-stream action="update" target="tests:Basket:[3]">'
            "<template><b>25</b>\n</template></turbo-stream>",
        ),
    ]
