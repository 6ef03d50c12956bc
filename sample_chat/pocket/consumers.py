"""The chat for programs: the same rooms and messages as JSON."""

from chat.models import Message, Room
from django.db.models import Q
from rest_framework.exceptions import PermissionDenied
from rest_framework.filters import BaseFilterBackend

from turbo.observers import (
    CreateModelMixin,
    GenericAsyncAPIConsumer,
    IsAuthenticated,
    ListModelMixin,
    Multiplexer,
    ObserverModelListMixin,
)

from .serializers import MessageSerializer, RoomSerializer


class RoomConsumer(ListModelMixin, ObserverModelListMixin, GenericAsyncAPIConsumer):
    """The rooms that the user may enter."""

    permission_classes = [IsAuthenticated]
    queryset = Room.objects.all()
    serializer_class = RoomSerializer

    def get_queryset(self, **kwargs):
        user = self.scope["user"]
        may_enter = Q(members_only=False) | Q(members=user)
        return Room.objects.filter(may_enter).distinct()


class ByRoom(BaseFilterBackend):
    """``{"query": {"room": 3}}``; without a room there are no messages."""

    def filter_queryset(self, request, queryset, view):
        room = request.query_params.get("room", "")
        return queryset.filter(room=room) if room.isdigit() else queryset.none()


class MessageConsumer(
    ListModelMixin, CreateModelMixin, ObserverModelListMixin, GenericAsyncAPIConsumer
):
    """The messages of one room, if the user may enter it."""

    permission_classes = [IsAuthenticated]
    queryset = Message.objects.select_related("author")
    serializer_class = MessageSerializer
    filter_backends = [ByRoom]

    def get_queryset(self, **kwargs):
        user = self.scope["user"]
        rooms = Room.objects.filter(Q(members_only=False) | Q(members=user))
        return super().get_queryset(**kwargs).filter(room__in=rooms.values("pk"))

    def get_audience(self):
        return self.scope["user"].pk  # all windows of a user see the same

    def perform_create(self, serializer, **kwargs):
        user = self.scope["user"]
        if not serializer.validated_data["room"].is_open_to(user):
            raise PermissionDenied
        serializer.save(author=user)


class Pocket(Multiplexer):
    consumers = {"rooms": RoomConsumer, "messages": MessageConsumer}
