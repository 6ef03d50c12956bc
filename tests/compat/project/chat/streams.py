import turbo

from .models import Message, Room


class RoomListStream(turbo.Stream):
    def add_room(self, room):
        self.append("chat/components/room.html", {"room": room}, id="room_list")

    def delete_all(self):
        self.remove(selector="#room_list li")


class RoomStream(turbo.ModelStream):
    class Meta:
        model = Room

    def on_save(self, room, created, *args, **kwargs):
        if created:
            RoomListStream().add_room(room)

    def user_passes_test(self, user):
        return True


class MessageStream(turbo.ModelStream):
    class Meta:
        model = Message

    def on_save(self, message, created, *args, **kwargs):
        stream = message.room.stream
        context = {"message": message}
        if created:
            stream.append("chat/components/message.html", context, id="messages")
        else:
            target = f"message-{message.id}"
            stream.replace("chat/components/message.html", context, id=target)

    def on_delete(self, message, *args, **kwargs):
        message.room.stream.remove(id=f"message-{message.id}")
