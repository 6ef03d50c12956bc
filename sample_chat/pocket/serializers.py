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
