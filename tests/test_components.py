"""A component shows the same on a new page and on one that is told of a change."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from turbo.components import BaseComponent, BroadcastComponent, UserBroadcastComponent
from turbo.exceptions import ConfigurationError
from turbo.streams.registry import resolve, stream_classes


class Banner(BroadcastComponent):
    template_name = "testapp/banner.html"


class GreetingBanner(BroadcastComponent):
    template_name = "testapp/banner.html"

    def get_context(self) -> dict[str, Any]:
        return {"text": "Good morning"}


class Unfinished(BroadcastComponent):
    pass


class CartCount(UserBroadcastComponent):
    template_name = "testapp/banner.html"

    def get_context(self) -> dict[str, Any]:
        return {"text": f"cart of {self.user}"}


@pytest.fixture
def request_() -> HttpRequest:
    request = RequestFactory().get("/rooms/")
    request.user = AnonymousUser()
    return request


def updated(name: str, content: str) -> tuple[str, str]:
    return (
        name,
        f'<turbo-stream action="update" target="{name}">'
        f"<template>{content}\n</template></turbo-stream>",
    )


def test_the_bases_are_no_streams() -> None:
    bases = {BaseComponent, BroadcastComponent, UserBroadcastComponent}

    assert bases & set(stream_classes()) == set()


def test_render_updates_the_element(sent: list[tuple[str, str]]) -> None:
    Banner().render(text="Back at <noon>")

    assert sent == [updated("tests:Banner", "<b>Back at &lt;noon&gt;</b>")]


async def test_arender_does_the_same(sent: list[tuple[str, str]]) -> None:
    await Banner().arender({"text": "a"})
    await Banner().arender(text="b")

    assert sent == [
        updated("tests:Banner", "<b>a</b>"),
        updated("tests:Banner", "<b>b</b>"),
    ]


def test_the_last_to_say_a_variable_counts(sent: list[tuple[str, str]]) -> None:
    GreetingBanner().render()
    GreetingBanner().render({"text": "a"})
    GreetingBanner().render({"text": "a"}, text="b")

    assert [data for _, data in sent] == [
        updated("tests:GreetingBanner", "<b>Good morning</b>")[1],
        updated("tests:GreetingBanner", "<b>a</b>")[1],
        updated("tests:GreetingBanner", "<b>b</b>")[1],
    ]


def test_initial_render(request_: HttpRequest) -> None:
    banner = GreetingBanner()

    assert banner.initial_render() == "<b>Good morning</b>\n"
    assert banner.initial_render({"text": "Hi"}) == "<b>Hi</b>\n"
    assert banner.initial_render(request=request_) == "<b>Good morning</b>/rooms/\n"


def test_a_component_needs_a_template() -> None:
    for use in Unfinished().render, Unfinished().initial_render:
        with pytest.raises(ConfigurationError) as caught:
            use()

        assert str(caught.value) == (
            "tests:Unfinished needs a template: set template_name."
        )


def test_a_component_of_a_user_has_the_key_in_its_name() -> None:
    user = User(pk=3, username="ann")
    lazy = SimpleLazyObject(lambda: user)

    names = {CartCount(given).stream_name for given in (user, lazy, 3)}

    assert names == {"tests:CartCount:[3]"}
    assert CartCount(user).user is user


def test_a_key_may_be_anything_that_has_a_text() -> None:
    key = uuid.UUID(int=7)

    component = CartCount(key)

    assert component.stream_name == f'tests:CartCount:["{key}"]'
    assert resolve(component.stream_name).stream_name == component.stream_name


@pytest.mark.django_db
def test_the_user_of_a_key_comes_from_the_database() -> None:
    ann = User.objects.create_user("ann")

    component = CartCount(ann.pk)

    assert component.user == ann


def test_a_change_goes_to_the_one_user(sent: list[tuple[str, str]]) -> None:
    CartCount(User(pk=3, username="ann")).render()

    name, data = sent[0]
    assert name == "tests:CartCount:[3]"
    assert data == updated(name, "<b>cart of ann</b>")[1]


@pytest.mark.parametrize("given", [User(pk=3), 3, "3"])
def test_only_the_user_may_see_it(given: Any) -> None:
    component = CartCount(given)

    assert component.is_live()
    assert component.user_passes_test(User(pk=3))
    assert not component.user_passes_test(User(pk=4))
    assert not component.user_passes_test(AnonymousUser())
    assert not component.user_passes_test(None)


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_nobody_may_see_the_component_of_nobody(nobody: Any) -> None:
    component = CartCount(nobody)

    assert not component.is_live()
    assert not component.user_passes_test(AnonymousUser())
    assert not component.user_passes_test(User())
    assert component.stream_name == "tests:CartCount:[null]"


# --- The tag


def page(source: str, **variables: Any) -> str:
    template = Template("{% load turbo_streams %}" + source)
    return template.render(Context(variables))


@pytest.mark.usefixtures("stamp")
@pytest.mark.parametrize("user", [AnonymousUser(), User(pk=3, username="ann")])
def test_tag_shows_and_subscribes(user: Any, request_: HttpRequest) -> None:
    request_.user = user

    html = page('{% turbo_component "tests:Banner" %}', request=request_, text="<Hi>")

    assert html == (
        f'<turbo-channels-stream-source signed-stream-name="{Banner().sign(user)}" '
        f'since="@7"></turbo-channels-stream-source>\n'
        f'<div class="tests:Banner" id="tests:Banner">'
        f"<b>&lt;Hi&gt;</b>/rooms/\n</div>\n"
    )


@pytest.mark.usefixtures("stamp")
def test_tag_takes_the_arguments_of_the_component(request_: HttpRequest) -> None:
    ann = User(pk=3, username="ann")
    request_.user = ann

    html = page(
        '{% turbo_component "tests:CartCount" request.user %}', request=request_
    )

    assert html == (
        f'<turbo-channels-stream-source signed-stream-name="{CartCount(3).sign(ann)}" '
        f'since="@7"></turbo-channels-stream-source>\n'
        f'<div class="tests:CartCount" id="tests:CartCount:[3]">'
        f"<b>cart of ann</b>/rooms/\n</div>\n"
    )


def test_tag_takes_an_instance_and_subscribes_nobody_to_nothing(
    request_: HttpRequest,
) -> None:
    html = page(
        "{% turbo_component cart %}", request=request_, cart=CartCount(AnonymousUser())
    )

    assert html == (
        '<div class="tests:CartCount" id="tests:CartCount:[null]">'
        "<b>cart of AnonymousUser</b>/rooms/\n</div>\n"
    )


@pytest.mark.usefixtures("stamp")
def test_tag_needs_no_request() -> None:
    html = page('{% turbo_component "tests:Banner" %}', text="Hi")

    assert html == (
        f'<turbo-channels-stream-source signed-stream-name="{Banner().sign()}" '
        f'since="@7"></turbo-channels-stream-source>\n'
        f'<div class="tests:Banner" id="tests:Banner"><b>Hi</b>\n</div>\n'
    )


@pytest.mark.usefixtures("stamp")
def test_what_is_shown_and_what_is_updated_have_one_id(
    sent: list[tuple[str, str]],
) -> None:
    cart = CartCount(uuid.UUID(int=7))
    cart.user = "ann"

    html = page("{% turbo_component cart %}", cart=cart)
    cart.render()

    escaped = f"tests:CartCount:[&quot;{uuid.UUID(int=7)}&quot;]"
    assert f' id="{escaped}"' in html
    assert f' target="{escaped}"' in sent[0][1]


def test_tag_with_a_name_that_nobody_knows() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page('{% turbo_component "tests:Nothing" %}')

    known = ", ".join(cls.label for cls in stream_classes())
    assert str(caught.value) == (
        f"turbo_component: There is no stream 'tests:Nothing'. Known streams: {known}."
    )


def test_tag_with_what_is_no_component() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page("{% turbo_component thing %}", thing=3)

    assert str(caught.value) == "turbo_component: 3 is not a component."
