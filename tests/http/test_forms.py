"""Forms and their answers, with Turbo and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.template import Template, TemplateDoesNotExist
from django.test import RequestFactory
from django.views.generic import CreateView, DeleteView, FormView, UpdateView

from tests.testapp.models import Room
from turbo.http import (
    TurboCreateMixin,
    TurboDeleteMixin,
    TurboFormMixin,
    TurboStreamMixin,
    TurboUpdateMixin,
    accepts_streams,
    arespond,
    respond,
    turbo_form,
)
from turbo.shortcuts import TurboResponse, remove_frame, render_frame_string

TURBO = "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"

REMOVED = '<turbo-stream action="remove" target="x"></turbo-stream>'


def make(method: str = "POST", accept: str = TURBO, **data: Any) -> HttpRequest:
    return RequestFactory().generic(
        method,
        "/rooms/",
        "&".join(f"{name}={value}" for name, value in data.items()),
        content_type="application/x-www-form-urlencoded",
        headers={"Accept": accept},
    )


def body(response: HttpResponseBase) -> str:
    if hasattr(response, "render"):
        response.render()
    return response.content.decode()


# --- accepts_streams


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (TURBO, True),
        ("text/html, text/vnd.turbo-stream.html;q=0.5", True),
        ("TEXT/HTML", False),
        (BROWSER, False),
        ("*/*", False),
        ("text/*", False),
        ("text/vnd.turbo-stream.html;q=0", False),
        ("", False),
    ],
)
def test_accepts_streams(accept: str, expected: bool) -> None:
    assert accepts_streams(make(accept=accept)) is expected


# --- turbo_form


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("response", "status"),
    [
        (lambda: redirect("/rooms/1/"), 303),
        (lambda: redirect("/rooms/1/", permanent=True), 303),
        (lambda: HttpResponse("<form>"), 422),
        (lambda: HttpResponse(status=204), 204),
        (lambda: HttpResponse(status=404), 404),
        (lambda: HttpResponse(status=307), 307),
        (lambda: JsonResponse({}), 200),
        (TurboResponse, 200),
    ],
)
async def test_form_answers(
    method: str, response: Callable[[], HttpResponse], status: int
) -> None:
    @turbo_form
    def view(request: HttpRequest) -> HttpResponse:
        return response()

    @turbo_form
    async def aview(request: HttpRequest) -> HttpResponse:
        return response()

    assert view(make(method)).status_code == status
    assert (await aview(make(method))).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_answers_to_safe_methods_stay_as_they_are(method: str) -> None:
    @turbo_form
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("<form>")

    @turbo_form
    def moved(request: HttpRequest) -> HttpResponse:
        return redirect("/rooms/1/")

    assert page(make(method)).status_code == 200
    assert moved(make(method)).status_code == 302


def test_turbo_form_keeps_the_view_as_it_is_otherwise() -> None:
    @turbo_form
    def room_edit(request: HttpRequest, pk: int, *, tab: str) -> HttpResponse:
        """Edit a room."""
        return HttpResponse(f"{pk} {tab}", content_type="text/plain")

    assert (room_edit.__name__, room_edit.__doc__) == ("room_edit", "Edit a room.")
    assert body(room_edit(make(), 7, tab="members")) == "7 members"


# --- respond


def test_respond_with_a_template_of_streams() -> None:
    response = respond(
        make(),
        "testapp/room_create.turbo_stream.html",
        {"room": Room(name="<Attic>")},
        otherwise=redirect("/"),
    )

    assert response.status_code == 200
    assert response.headers["Content-Type"] == (
        "text/vnd.turbo-stream.html; charset=utf-8"
    )
    assert response.headers["Vary"] == "Accept"
    assert body(response) == (
        '<turbo-stream action="append" target="rooms">'
        '<template><li id="new_room">&lt;Attic&gt;</li></template></turbo-stream>\n'
        '<turbo-stream action="update" target="new_room_form">'
        "<template></template></turbo-stream>\n"
    )


def test_respond_with_frames() -> None:
    frames = (frame for frame in [remove_frame(id="x"), remove_frame(id="x")])

    response = respond(make(), frames, otherwise=redirect("/"), status=201)

    assert (response.status_code, body(response)) == (201, REMOVED * 2)


def test_respond_with_one_frame() -> None:
    frame = remove_frame(id="x")

    assert body(respond(make(), frame, otherwise=redirect("/"))) == REMOVED
    assert body(respond(make(), frame.__html__(), otherwise=redirect("/"))) == REMOVED


async def test_respond_otherwise() -> None:
    plain = make(accept=BROWSER)

    response = respond(plain, "testapp/none.html", otherwise=redirect("/rooms/"))
    twin = await arespond(plain, "testapp/none.html", otherwise=redirect("/rooms/"))

    for answer in response, twin:
        assert (answer.status_code, answer.headers["Location"]) == (303, "/rooms/")
        assert answer.headers["Vary"] == "Accept"


async def test_arespond_with_streams() -> None:
    response = await arespond(make(), remove_frame(id="x"), otherwise=redirect("/"))

    assert (response.status_code, body(response)) == (200, REMOVED)


# --- The mixins


class RoomForm(forms.Form):
    name = forms.CharField()


class PlainForm(TurboFormMixin, FormView):
    form_class = RoomForm
    template_name = "testapp/form.html"
    success_url = "/rooms/"


class FramesForm(TurboStreamMixin, FormView):
    form_class = RoomForm
    template_name = "testapp/form.html"
    success_url = "/rooms/"

    def get_streams(self, form: Any) -> Any:
        name = form.cleaned_data["name"]
        return [render_frame_string(name).append(id="rooms"), remove_frame(id="x")]


class NamelessForm(TurboStreamMixin, FormView):
    form_class = RoomForm
    template_name = "testapp/form.html"
    success_url = "/rooms/"


class RoomCreate(TurboCreateMixin, CreateView):
    model = Room
    fields = ("name",)
    template_name = "testapp/form.html"
    success_url = "/rooms/"


class RoomUpdate(TurboUpdateMixin, UpdateView):
    model = Room
    fields = ("name",)
    template_name = "testapp/form.html"
    success_url = "/rooms/"
    stream_template_name = "testapp/room_changed.turbo_stream.html"


class RoomDelete(TurboDeleteMixin, DeleteView):
    model = Room
    template_name = "testapp/form.html"
    success_url = "/rooms/"


def test_an_invalid_form_is_422() -> None:
    response = PlainForm.as_view()(make(name=""))

    assert response.status_code == 422
    assert "This field is required." in body(response)


def test_a_form_that_is_opened_is_200() -> None:
    assert PlainForm.as_view()(make("GET")).status_code == 200


def test_a_valid_form_redirects_with_303() -> None:
    response = PlainForm.as_view()(make(name="Attic"))

    assert (response.status_code, response.headers["Location"]) == (303, "/rooms/")


def test_several_frames_answer_a_form() -> None:
    response = FramesForm.as_view()(make(name="<Attic>"))

    assert (response.status_code, response.headers["Vary"]) == (200, "Accept")
    assert body(response) == (
        '<turbo-stream action="append" target="rooms">'
        f"<template>&lt;Attic&gt;</template></turbo-stream>{REMOVED}"
    )


def test_streams_of_no_model_need_a_template() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        NamelessForm.as_view()(make(name="Attic"))

    assert str(caught.value) == (
        "NamelessForm has no model instance that names a template. "
        "Set stream_template_name, or define get_streams()."
    )


@pytest.mark.django_db
def test_create_answers_with_streams() -> None:
    response = RoomCreate.as_view()(make(name="Attic"))

    room = Room.objects.get()
    assert response.status_code == 200
    assert body(response) == (
        '<turbo-stream action="append" target="rooms">'
        f'<template><li id="room_{room.pk}">Attic</li></template></turbo-stream>\n'
        '<turbo-stream action="update" target="new_room_form">'
        "<template></template></turbo-stream>\n"
    )


@pytest.mark.django_db
def test_create_without_turbo_redirects() -> None:
    response = RoomCreate.as_view()(make(accept=BROWSER, name="Attic"))

    assert Room.objects.get().name == "Attic"
    assert (response.status_code, response.headers["Location"]) == (303, "/rooms/")
    assert response.headers["Vary"] == "Accept"


@pytest.mark.django_db
@pytest.mark.parametrize("accept", [TURBO, BROWSER])
def test_create_with_an_invalid_form_is_422(accept: str) -> None:
    response = RoomCreate.as_view()(make(accept=accept, name=""))

    assert (response.status_code, Room.objects.count()) == (422, 0)


@pytest.mark.django_db
def test_update_answers_with_its_own_template() -> None:
    room = Room.objects.create(name="Attic")

    response = RoomUpdate.as_view()(make(name="Cellar"), pk=room.pk)

    assert body(response) == (
        f'<turbo-stream action="replace" target="room_{room.pk}" method="morph">'
        "<template>Cellar</template></turbo-stream>\n"
    )


@pytest.mark.django_db
def test_delete_answers_with_the_object_as_it_was() -> None:
    room = Room.objects.create(name="Attic")

    response = RoomDelete.as_view()(make(), pk=room.pk)

    assert not Room.objects.exists()
    assert body(response) == (
        f'<turbo-stream action="remove" target="room_{room.pk}"></turbo-stream>\n'
    )


@pytest.mark.django_db
def test_frames_made_in_code_know_what_was_deleted() -> None:
    class RoomHide(RoomDelete):
        def get_streams(self, form: Any) -> Any:
            return remove_frame(id=self.object)

    room = Room.objects.create(name="Attic")

    response = RoomHide.as_view()(make(), pk=room.pk)

    assert not Room.objects.exists()
    assert body(response) == (
        f'<turbo-stream action="remove" target="room_{room.pk}"></turbo-stream>'
    )


@pytest.mark.django_db
def test_delete_without_turbo_redirects() -> None:
    room = Room.objects.create(name="Attic")

    response = RoomDelete.as_view()(make(accept=BROWSER), pk=room.pk)

    assert not Room.objects.exists()
    assert (response.status_code, response.headers["Location"]) == (303, "/rooms/")


@pytest.mark.django_db
def test_a_stream_template_that_fails_reaches_the_caller() -> None:
    class Broken(RoomCreate):
        stream_template_name = "testapp/none.turbo_stream.html"

    with pytest.raises(TemplateDoesNotExist, match=r"none\.turbo_stream\.html"):
        Broken.as_view()(make(name="Attic"))


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_a_stream_template_that_fails_is_a_plain_500(
    settings: Any, caplog: pytest.LogCaptureFixture, *, debug: bool
) -> None:
    """What was typed is nowhere unescaped, and no half of the stream goes out."""

    class Broken(RoomCreate):
        stream_template_name = Template(
            '{% load turbo_streams %}{% turbo_stream "append" "rooms" %}{{ room.name }}'
            '{% include "testapp/none.html" %}{% endturbo_stream %}'
        )

    settings.DEBUG = debug
    view = convert_exception_to_response(Broken.as_view())

    response = view(make(name="<script>alert(1)</script>"))

    assert response.status_code == 500
    assert response.headers["Content-Type"].startswith("text/html")
    assert "<script>alert(1)" not in body(response)
    assert "<turbo-stream" not in body(response)
    assert "TemplateDoesNotExist: testapp/none.html" in caplog.text
