"""Every tag is exact HTML, and a clear error where there is none."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.template import (
    Context,
    Engine,
    RequestContext,
    Template,
    TemplateSyntaxError,
)
from django.test import RequestFactory
from django.urls import include, path

import turbo
from tests.testapp.models import Room
from tests.testapp.streams import Cafe
from turbo.components import BroadcastComponent
from turbo.exceptions import ActionError, TargetError, UnsavedInstanceError
from turbo.middleware import TurboDetails
from turbo.runtime.context import set_since
from turbo.streams.registry import stream_classes


class News(turbo.Stream):
    pass


class RoomNews(turbo.ModelStream):
    class Meta:
        model = Room
        attribute = "news_stream"


class Whispering(BroadcastComponent):
    class Meta:
        whispers = ("typing",)

    template_name = "testapp/banner.html"


class Sport(turbo.Stream):
    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def get_init_args(self) -> tuple[str, ...]:
        return self.kinds


urlpatterns = [path("live/", include("turbo.urls"))]


def page(source: str, **variables: Any) -> str:
    template = Template("{% load turbo_streams %}" + source)
    return template.render(Context(variables))


def source(signed: str, since: str = "@7") -> str:
    return (
        f'<turbo-channels-stream-source signed-stream-name="{signed}" since="{since}">'
        f"</turbo-channels-stream-source>"
    )


def room(pk: int | None = 1) -> Room:
    room = Room(pk=pk, name="Attic")
    room._state.adding = pk is None
    return room


def request_of(user: Any) -> HttpRequest:
    request = RequestFactory().get("/rooms/")
    request.user = user
    return request


# --- turbo_subscribe


@pytest.mark.usefixtures("stamp")
@pytest.mark.parametrize(
    ("value", "stream"),
    [
        ("tests:News", News()),
        (News(), News()),
        (News, News()),
        ("tests:RoomNews:1", RoomNews(1)),
        (room().news_stream, RoomNews(1)),
        (Sport("golf"), Sport("golf")),
    ],
)
def test_subscribe_takes_whatever_means_a_stream(
    value: Any, stream: turbo.Stream
) -> None:
    html = page("{% turbo_subscribe it %}", it=value)

    assert html == source(stream.sign())


@pytest.mark.usefixtures("stamp")
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_stream_with_whispers_has_its_id_and_the_script(transport: str) -> None:
    """Other streams have neither; the script has the nonce of the page."""
    cafe = Cafe(1)

    html = page(
        "{% turbo_subscribe cafe transport=transport %}",
        cafe=cafe,
        transport=transport,
        csp_nonce="n1",
    )

    element, script = html.split("<script")
    assert f' stream-id="{cafe.stream_id}">' in element
    assert script == (
        ' type="module" src="/static/turbo/whispers.min.js" nonce="n1"></script>'
    )


class CspRequest(HttpRequest):
    """A request with a nonce, as django-csp has it."""

    csp_nonce = "n2"


@pytest.mark.parametrize(
    "source",
    [
        "{% turbo_subscribe cafe %}",
        '{% turbo_text cafe "a" %}',
        '{% turbo_progress cafe "a" %}',
        "{% turbo_component whispering %}",
    ],
)
@pytest.mark.parametrize("nonce", ["n1", "n2"])
def test_each_script_has_the_nonce_of_the_page(source: str, nonce: str) -> None:
    """It is that of the template, if that has one, or else that of the request."""
    variables = {"csp_nonce": "n1"} if nonce == "n1" else {}

    html = page(
        source,
        cafe=Cafe(1),
        whispering=Whispering(),
        request=CspRequest(),
        **variables,
    )

    assert html.count("<script") == html.count(f' nonce="{nonce}"></script>') == 1


@pytest.mark.usefixtures("stamp")
def test_subscribe_takes_an_instance_of_a_model_with_a_stream() -> None:
    user = User(pk=3)
    user.stream = Sport("golf")

    assert page("{% turbo_subscribe it %}", it=user) == source(Sport("golf").sign())


@pytest.mark.usefixtures("stamp")
def test_subscribe_takes_several_streams() -> None:
    html = page('{% turbo_subscribe it "tests:News" %}', it=RoomNews(1))

    assert html == source(RoomNews(1).sign()) + source(News().sign())


@pytest.mark.usefixtures("stamp")
@pytest.mark.parametrize("context_class", [Context, RequestContext])
def test_subscribe_is_bound_to_the_user_of_the_page(context_class: Any) -> None:
    ann = User(pk=3)
    request = request_of(ann)
    template = Template('{% load turbo_streams %}{% turbo_subscribe "tests:News" %}')
    plain = Context({"request": request})

    html = template.render(
        plain if context_class is Context else RequestContext(request)
    )

    assert html == source(News().sign(ann))
    assert News().sign(ann) != News().sign()


@pytest.mark.usefixtures("stamp")
def test_subscribe_is_bound_to_nobody_when_nobody_is_logged_in() -> None:
    request = request_of(AnonymousUser())

    html = page('{% turbo_subscribe "tests:News" %}', request=request)

    assert html == source(News().sign())


@pytest.mark.usefixtures("stamp")
def test_subscribe_says_when_the_page_was_born() -> None:
    request = request_of(AnonymousUser())
    request.turbo = TurboDetails(request, since="@5")

    html = page('{% turbo_subscribe "tests:News" %}', request=request)

    assert html == source(News().sign(since="@5"), since="@5")


@pytest.mark.usefixtures("stamp")
def test_subscribe_says_now_when_nobody_noted_when_the_page_began() -> None:
    set_since("")

    html = page('{% turbo_subscribe "tests:News" %}')

    assert re.search(r' since="@[^"]+">', html)


@pytest.mark.usefixtures("stamp")
def test_subscribe_over_server_sent_events() -> None:
    html = page('{% turbo_subscribe "tests:News" transport="sse" %}')

    name = News().sign().replace(":", "%3A")
    assert html == (
        f'<turbo-stream-source src="/turbo/sse/?stream={name}&amp;since=%407">'
        f"</turbo-stream-source>"
    )


@pytest.mark.usefixtures("stamp")
@pytest.mark.urls(__name__)
def test_subscribe_finds_the_address_of_event_streams() -> None:
    html = page('{% turbo_subscribe "tests:News" transport="sse" %}')

    assert html.startswith('<turbo-stream-source src="/live/sse/?stream=')


@pytest.mark.parametrize("name", ["tests:Nothing", "nonsense", ""])
def test_subscribe_to_a_name_that_nobody_knows(name: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page("{% turbo_subscribe name %}", name=name)

    known = ", ".join(cls.label for cls in stream_classes())
    assert str(caught.value).startswith(
        f"turbo_subscribe: There is no stream {name!r}. Known"
    )
    assert str(caught.value).endswith(f"Known streams: {known}.")


@pytest.mark.parametrize("invalid", ["", "?", "missing %s"])
@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("{% turbo_subscribe rom %}", "turbo_subscribe: rom is not defined."),
        (
            '{% turbo_subscribe "tests:News" it.owner.rooms|first %}',
            "turbo_subscribe: it.owner.rooms|first is not defined.",
        ),
        ("{% turbo_subscribe it.owner %}", "turbo_subscribe: it.owner is None."),
        ("{% turbo_component rom %}", "turbo_component: rom is not defined."),
        ("{% dom_id rom %}", "dom_id: rom is not defined."),
        (
            "{% turbo_frame rom %}{% endturbo_frame %}",
            "turbo_frame: rom is not defined.",
        ),
        (
            '{% turbo_stream "append" rom %}{% endturbo_stream %}',
            "turbo_stream: rom is not defined.",
        ),
    ],
)
def test_a_variable_that_is_not_there_is_named(
    tag: str, told: str, invalid: str
) -> None:
    engine = Engine(
        libraries={"turbo_streams": "turbo.templatetags.turbo_streams"},
        string_if_invalid=invalid,
    )
    template = engine.from_string("{% load turbo_streams %}" + tag)

    with pytest.raises(TemplateSyntaxError) as caught:
        template.render(Context({"it": SimpleNamespace(owner=None)}))

    assert str(caught.value) == told


def test_a_default_stands_for_a_variable_that_is_not_there() -> None:
    html = page('{% dom_id rom|default:it pre|default:"edit" %}', it=room())

    assert html == "edit_room_1"


def test_subscribe_to_what_has_no_stream() -> None:
    with pytest.raises(TemplateSyntaxError, match="There is no stream 3"):
        page("{% turbo_subscribe 3 %}")


def test_subscribe_to_an_instance_that_was_never_saved() -> None:
    with pytest.raises(UnsavedInstanceError) as caught:
        page("{% turbo_subscribe it %}", it=room(None).news_stream)

    assert str(caught.value) == (
        "This testapp.Room instance has no primary key, so it has no stream. "
        "Save it first."
    )


def test_subscribe_to_nothing() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page("{% turbo_subscribe %}")

    assert str(caught.value) == "turbo_subscribe needs at least one stream."


def test_subscribe_by_a_transport_that_is_none() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page('{% turbo_subscribe "tests:News" transport="pigeon" %}')

    assert str(caught.value) == ("transport='pigeon' is not one of 'websocket', 'sse'.")


# --- turbo_frame


def test_frame() -> None:
    html = page('{% turbo_frame "tray" %}<p>{{ it }}</p>{% endturbo_frame %}', it="<")

    assert html == '<turbo-frame id="tray"><p>&lt;</p></turbo-frame>'


def test_frame_that_loads_itself() -> None:
    html = page(
        '{% turbo_frame "tray" src=url loading="lazy" target="_top" disabled=True '
        'data_turbo_action="advance" class="wide" %}{% endturbo_frame %}',
        url="/trays/1/?a=1&b=2",
    )

    assert html == (
        '<turbo-frame id="tray" src="/trays/1/?a=1&amp;b=2" loading="lazy" '
        'target="_top" disabled data-turbo-action="advance" class="wide"></turbo-frame>'
    )


def test_frame_of_an_object() -> None:
    source = (
        "{% turbo_frame room %}{% endturbo_frame %}"
        '{% turbo_frame room "edit" %}{% endturbo_frame %}'
        "{% turbo_frame new %}{% endturbo_frame %}"
    )

    assert page(source, room=room(), new=room(None)) == (
        '<turbo-frame id="room_1"></turbo-frame>'
        '<turbo-frame id="edit_room_1"></turbo-frame>'
        '<turbo-frame id="new_room"></turbo-frame>'
    )


def test_frame_loads_from_the_address_of_an_object() -> None:
    target = SimpleNamespace(get_absolute_url=lambda: "/rooms/1/")

    html = page('{% turbo_frame "tray" src=it %}{% endturbo_frame %}', it=target)

    assert html == '<turbo-frame id="tray" src="/rooms/1/"></turbo-frame>'


def test_frame_with_a_hostile_id() -> None:
    html = page(
        "{% turbo_frame id %}{% endturbo_frame %}", id='x"><script>alert(1)</script>'
    )

    assert html == (
        '<turbo-frame id="x&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;">'
        "</turbo-frame>"
    )


def test_frame_with_a_handler() -> None:
    with pytest.raises(ActionError, match="'onclick' is not a valid attribute name"):
        page('{% turbo_frame "x" onclick="alert(1)" %}{% endturbo_frame %}')


@pytest.mark.parametrize("id", ["", None])
def test_frame_without_an_id(id: Any) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page("{% turbo_frame id %}{% endturbo_frame %}", id=id)

    assert str(caught.value) == "turbo_frame needs an id, or an object to make it from."


def test_frame_with_an_id_and_a_prefix() -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page('{% turbo_frame "x" "edit" %}{% endturbo_frame %}')

    assert str(caught.value) == "'x' is an id already and takes no prefix."


# --- turbo_stream


@pytest.mark.parametrize(
    "action", ["append", "prepend", "replace", "update", "before", "after"]
)
def test_stream_wraps_its_content(action: str) -> None:
    html = page(
        "{% turbo_stream action 'messages' %}<p>{{ it }}</p>{% endturbo_stream %}",
        action=action,
        it="<",
    )

    assert html == (
        f'<turbo-stream action="{action}" target="messages">'
        f"<template><p>&lt;</p></template></turbo-stream>"
    )


def test_stream_with_a_selector_and_attributes() -> None:
    html = page(
        '{% turbo_stream "replace" selector=".room > li" method="morph" '
        'data_by="ann" %}x{% endturbo_stream %}'
    )

    assert html == (
        '<turbo-stream action="replace" targets=".room &gt; li" method="morph" '
        'data-by="ann"><template>x</template></turbo-stream>'
    )


def test_stream_acts_on_an_object() -> None:
    html = page('{% turbo_stream "update" room %}x{% endturbo_stream %}', room=room())

    assert html == (
        '<turbo-stream action="update" target="room_1">'
        "<template>x</template></turbo-stream>"
    )


def test_stream_without_content() -> None:
    html = page(
        '{% turbo_stream "remove" "x" %}\n{% endturbo_stream %}'
        '{% turbo_stream "refresh" %}{% endturbo_stream %}'
        '{% turbo_stream "ring" volume=3 %}{% endturbo_stream %}'
        '{% turbo_stream "update" "x" %}{% endturbo_stream %}'
    )

    assert html == (
        '<turbo-stream action="remove" target="x"></turbo-stream>'
        '<turbo-stream action="refresh"></turbo-stream>'
        '<turbo-stream action="ring" volume="3"></turbo-stream>'
        '<turbo-stream action="update" target="x"><template></template></turbo-stream>'
    )


def test_stream_of_your_own() -> None:
    html = page('{% turbo_stream "notify" level="info" %}Saved{% endturbo_stream %}')

    assert html == (
        '<turbo-stream action="notify" level="info">'
        "<template>Saved</template></turbo-stream>"
    )


@pytest.mark.parametrize("action", ["remove", "refresh"])
def test_stream_that_takes_no_content(action: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page("{% turbo_stream action 'x' %}y{% endturbo_stream %}", action=action)

    assert str(caught.value) == f"turbo_stream {action!r} takes no content."


def test_stream_with_a_hostile_action() -> None:
    with pytest.raises(ActionError):
        page("{% turbo_stream it 'x' %}{% endturbo_stream %}", it='x"><script>')


def test_stream_without_a_target() -> None:
    with pytest.raises(TargetError, match="'append' needs a target"):
        page('{% turbo_stream "append" it %}x{% endturbo_stream %}', it="")


# --- dom_id


def test_dom_id() -> None:
    source = (
        '{% dom_id room %} {% dom_id room "edit" %} {% dom_id new %} {% dom_id cls %}'
    )

    html = page(source, room=room(), new=room(None), cls=Room)

    assert html == "room_1 edit_room_1 new_room new_room"


def test_dom_id_in_a_variable() -> None:
    html = page('{% dom_id room as id %}<li id="{{ id }}">', room=room())

    assert html == '<li id="room_1">'


def test_dom_id_is_escaped() -> None:
    html = page("{% dom_id it %}", it=room('"><script>'))  # type: ignore[arg-type]

    assert html == "room_&quot;&gt;&lt;script&gt;"


def test_dom_id_of_nothing() -> None:
    with pytest.raises(TypeError, match="takes a model or an instance of one, not ''"):
        page("{% dom_id nothing %}", nothing="")


# --- The tags of <head>


@pytest.mark.parametrize(
    ("tag", "html"),
    [
        (
            "turbo_refreshes_with",
            '<meta name="turbo-refresh-method" content="replace">'
            '<meta name="turbo-refresh-scroll" content="reset">',
        ),
        (
            'turbo_refreshes_with method="morph" scroll="preserve"',
            '<meta name="turbo-refresh-method" content="morph">'
            '<meta name="turbo-refresh-scroll" content="preserve">',
        ),
        (
            'turbo_cache_control "no-preview"',
            '<meta name="turbo-cache-control" content="no-preview">',
        ),
        (
            "turbo_exempts_page_from_cache",
            '<meta name="turbo-cache-control" content="no-cache">',
        ),
        (
            "turbo_exempts_page_from_preview",
            '<meta name="turbo-cache-control" content="no-preview">',
        ),
        (
            "turbo_page_requires_reload",
            '<meta name="turbo-visit-control" content="reload">',
        ),
        ("turbo_disable_prefetch", '<meta name="turbo-prefetch" content="false">'),
    ],
)
def test_meta_tags(tag: str, html: str) -> None:
    assert page(f"{{% {tag} %}}") == html


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        (
            'turbo_refreshes_with method="melt"',
            "method='melt' is not one of 'replace', 'morph'.",
        ),
        (
            'turbo_refreshes_with scroll="up"',
            "scroll='up' is not one of 'reset', 'preserve'.",
        ),
        (
            'turbo_cache_control "maybe"',
            "content='maybe' is not one of 'no-cache', 'no-preview'.",
        ),
    ],
)
def test_meta_tags_with_a_value_that_is_none(tag: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        page(f"{{% {tag} %}}")

    assert str(caught.value) == message
