from django.conf import settings
from django.db import models


class Score(models.Model):
    """How many cups of tea a user has had."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE)
    cups = models.PositiveIntegerField(default=0)

    def __str__(self):
        return f"{self.user}: {self.cups}"
