from django.contrib.auth import get_user_model

from turbo.bindings import Binding

from .models import Score
from .serializers import ScoreSerializer


class Scores(Binding):
    """The scoreboard as it is sent to the page; it also follows changed names."""

    model = Score
    serializer_class = ScoreSerializer
    depends_on = (get_user_model(),)

    def get_queryset(self):
        return Score.objects.select_related("user").order_by("-cups")
