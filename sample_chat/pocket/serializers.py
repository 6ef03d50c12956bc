from chat.models import Message, Room
from rest_framework import serializers


class RoomSerializer(serializers.ModelSerializer):
    class Meta:
        model = Room
        fields = ["id", "name"]


class MessageSerializer(serializers.ModelSerializer):
    author = serializers.CharField(source="author.first_name", read_only=True)

    class Meta:
        model = Message
        fields = ["id", "room", "author", "text"]

    def to_representation(self, message):
        data = super().to_representation(message)
        if message.hidden:
            data["text"] = "Hidden by a moderator"
        return data
