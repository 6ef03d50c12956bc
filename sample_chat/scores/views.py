from django.db.models import F
from django.shortcuts import redirect, render

from turbo.http import turbo_form

from .models import Score


@turbo_form
def scores(request):
    """Show the scoreboard; a POST adds a cup of tea."""
    if request.method != "POST":
        return render(request, "scores/scores.html")
    score, _ = Score.objects.get_or_create(user=request.user)
    score.cups = F("cups") + 1
    score.save(update_fields=["cups"])
    return redirect("scores")
