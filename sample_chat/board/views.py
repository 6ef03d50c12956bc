from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from turbo.http import turbo_form

from .forms import CardForm, MoveForm
from .models import Board, Card


@turbo_form
def board(request):
    board = get_object_or_404(Board.objects.order_by("pk")[:1])
    card = Card(board=board)
    form = CardForm(request.POST or None, instance=card, auto_id="new-card-%s")
    if form.is_valid():
        form.save()
        return redirect("board")
    return render(request, "board/board.html", {"board": board, "form": form})


@turbo_form
def edit_card(request, pk):
    card = get_object_or_404(Card, pk=pk)
    form = CardForm(request.POST or None, instance=card, auto_id=f"card-{pk}-%s")
    form.fields["title"].widget.attrs["autofocus"] = True
    if form.is_valid():
        form.save()
        return redirect("board")
    return render(request, "board/edit_card.html", {"card": card, "form": form})


@require_POST
@turbo_form
def move_card(request, pk):
    form = MoveForm(request.POST, instance=get_object_or_404(Card, pk=pk))
    if form.is_valid():
        form.save()
    return redirect("board")


@require_POST
@turbo_form
def delete_card(request, pk):
    get_object_or_404(Card, pk=pk).delete()
    return redirect("board")
