from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models.functions import Coalesce, NullIf
from django.urls import reverse
from django.utils import timezone


class RoomQuerySet(models.QuerySet):
    def with_summary(self):
        """Add what the room list shows: the number of messages and the last one."""
        first_name = NullIf("author__first_name", models.Value(""))
        latest = Message.objects.filter(
            room=models.OuterRef("pk"), hidden=False, writing=False
        ).order_by("-pk")
        latest = latest.annotate(name=Coalesce(first_name, "author__username"))
        return self.annotate(
            message_count=models.Count("messages"),
            last_text=models.Subquery(latest.values("text")[:1]),
            last_author=models.Subquery(latest.values("name")[:1]),
        )


class Room(models.Model):
    name = models.CharField(
        max_length=60,
        unique=True,
        error_messages={"unique": "A room with this name already exists."},
    )
    members_only = models.BooleanField("for members only?", default=False)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="rooms"
    )

    objects = RoomQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("room", args=[self.pk])

    def is_open_to(self, user):
        if not user.is_authenticated:
            return False
        return not self.members_only or self.members.contains(user)


class MessageQuerySet(models.QuerySet):
    def send(self, author, room, *, text, key):
        """Save a message once, also if its page sends it again with the same key."""
        key = key or uuid4()
        content = {"room": room, "text": text}
        return self.get_or_create(author=author, key=key, defaults=content)


class Message(models.Model):
    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    text = models.TextField("message", max_length=2000)
    created = models.DateTimeField(default=timezone.now, editable=False)
    edited = models.BooleanField(default=False, editable=False)
    hidden = models.BooleanField(default=False, editable=False)  # by a moderator
    writing = models.BooleanField(default=False, editable=False)  # an answer grows
    key = models.UUIDField(null=True, editable=False)  # from the page that sent it

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["author", "key"], name="one_message_a_key")
        ]

    def __str__(self):
        return self.text[:60]

    def get_absolute_url(self):
        return reverse("message", args=[self.pk])

    @property
    def answer_id(self):
        """The id of the text that grows in the message while it is written."""
        return f"answer-{self.pk}"


class Announcement(models.Model):
    text = models.CharField("announcement", max_length=200)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.text
