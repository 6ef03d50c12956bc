import turbo
from turbo.components import BroadcastComponent

from .models import Announcement, Message, Room


class RoomList(turbo.Stream):
    """The list of rooms beside every page."""

    def user_passes_test(self, user):
        return user.is_authenticated

    def show(self, room_id):
        for room in Room.objects.with_summary().filter(pk=room_id):
            context = {"room": room}
            self.replace("chat/room_summary.html", context, id=f"summary-{room.id}")


class RoomStream(turbo.ModelStream):
    class Meta:
        model = Room
        audiences = ("member", "moderator")

    def user_passes_test(self, user):
        return self.instance.is_open_to(user)

    def get_audience(self, user):
        return "moderator" if user.is_staff else "member"

    def on_save(self, room, created, *args, **kwargs):
        if created:
            RoomList().append("chat/room_item.html", {"room": room}, id="rooms")
        else:
            RoomList().show(room.id)

    def on_delete(self, room, *args, **kwargs):
        RoomList().remove(id=f"room-{room.id}")


class RoomPeople(turbo.ModelStream):
    """Who is in a room, and who is writing there."""

    class Meta:
        model = Room
        attribute = "people"
        presence = True
        whispers = ("typing",)

    def user_passes_test(self, user):
        return self.instance.is_open_to(user)

    def on_join(self, user):
        self.append("chat/person.html", {"person": user}, id="people")

    def on_leave(self, user):
        self.remove(id=f"person-{user.pk}")


class MessageStream(turbo.ModelStream):
    class Meta:
        model = Message

    def user_passes_test(self, user):
        return self.instance.room.is_open_to(user)

    def on_save(self, message, created, *args, **kwargs):
        stream = message.room.stream
        context = {"message": message}
        if created:
            stream.append("chat/message.html", context, id="messages")
        else:
            stream.replace("chat/message.html", context, id=f"message-{message.id}")
        RoomList().show(message.room_id)

    def on_delete(self, message, *args, **kwargs):
        room_stream = RoomStream.from_pk(message.room_id)  # no query
        room_stream.remove(id=f"message-{message.id}")
        RoomList().show(message.room_id)


class AnnouncementStream(turbo.ModelStream):
    class Meta:
        model = Announcement

    def user_passes_test(self, user):
        return user.is_authenticated

    def on_save(self, announcement, *args, **kwargs):
        AnnouncementComponent().render()

    def on_delete(self, announcement, *args, **kwargs):
        AnnouncementComponent().render()


class AnnouncementComponent(BroadcastComponent):
    """The line at the top of every page, the same for everybody."""

    template_name = "chat/announcement.html"

    def user_passes_test(self, user):
        return user.is_authenticated

    def get_context(self):
        return {"announcement": Announcement.objects.last()}
