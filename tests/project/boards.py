"""A board as an application writes one: forms, frames and refreshes."""

from __future__ import annotations

import time
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.generic import CreateView, DetailView

import turbo
from tests.testapp.models import Board, Card
from turbo.http import TurboCreateMixin, turbo_form

#: How often each visitor (``?as=``) has been shown a board.
shown: dict[str, int] = {}


class BoardForm(forms.ModelForm):
    class Meta:
        model = Board
        fields = ("name",)


class CardForm(forms.ModelForm):
    class Meta:
        model = Card
        fields = ("title",)


class BoardView(DetailView):
    model = Board
    template_name = "testapp/board.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        visitor = self.request.GET.get("as", "")
        shown[visitor] = shown.get(visitor, 0) + 1
        context = super().get_context_data(form=CardForm(), **kwargs)
        context["transport"] = self.request.GET.get("transport", "websocket")
        context["cards"] = list(self.object.cards.all())
        time.sleep(float(self.request.GET.get("wait", 0)))
        return context


@turbo_form
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Change the board's name, in a frame or on a page of its own."""
    board = get_object_or_404(Board, pk=pk)
    form = BoardForm(request.POST or None, instance=board)
    if form.is_valid():
        form.save()
        return redirect(f"{reverse('board', args=[pk])}?{request.GET.urlencode()}")
    return render(request, "testapp/rename.html", {"board": board, "form": form})


class CardCreate(TurboCreateMixin, CreateView):
    """Add a card; whoever takes no streams is sent back to the board."""

    model = Card
    form_class = CardForm
    template_name = "testapp/new_card.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(board_id=self.kwargs["pk"], **kwargs)

    def form_valid(self, form: Any) -> Any:
        form.instance.board_id = self.kwargs["pk"]
        return super().form_valid(form)

    def get_success_url(self) -> str:
        back = reverse("board", args=[self.kwargs["pk"]])
        return f"{back}?{self.request.GET.urlencode()}"


def times_shown(request: HttpRequest, visitor: str) -> HttpResponse:
    return HttpResponse(str(shown.get(visitor, 0)))


def touch(request: HttpRequest, pk: int) -> HttpResponse:
    """Change the board: ``?times=50&by=ann&start=…`` spreads it over one second."""
    change(pk, request.GET["by"], int(request.GET["times"]), request.GET.get("start"))
    return HttpResponse("done")


def flush(request: HttpRequest) -> HttpResponse:
    """Send what waits for its turn."""
    turbo.flush()
    return HttpResponse("done")


def change(pk: int, by: str, times: int, start: str | None = None) -> None:
    """Rename the board so often, evenly within the second after ``start``, if given."""
    board = Board.objects.get(pk=pk)
    for number in range(times):
        if start is not None:
            moment = float(start) + 0.95 * number / times
            time.sleep(max(0, moment - time.time()))
        board.name = f"{by} {number + 1}"
        board.save()


def notify(request: HttpRequest, pk: int) -> HttpResponse:
    """Broadcast an action that Turbo does not know."""
    stream: turbo.ModelStream = Board.objects.get(pk=pk).stream
    stream.action(
        "notify", text=request.GET["text"], attributes={"level": request.GET["level"]}
    )
    return HttpResponse("done")


urlpatterns = [
    path("<int:pk>/", BoardView.as_view(), name="board"),
    path("<int:pk>/rename/", rename, name="rename"),
    path("<int:pk>/cards/", CardCreate.as_view(), name="new-card"),
    path("<int:pk>/touch/", touch),
    path("<int:pk>/notify/", notify),
    path("flush/", flush),
    path("shown/<str:visitor>/", times_shown),
]
