from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework import serializers

from tests.testapp.models import Message, Room, Tagged


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username"]


class RoomSerializer(serializers.ModelSerializer):
    class Meta:
        model = Room
        fields = ["pk", "name", "public"]


class MessageSerializer(serializers.ModelSerializer):
    class Meta:
        model = Message
        fields = ["pk", "room", "text"]


class TaggedSerializer(serializers.ModelSerializer):
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Tagged
        fields = ["pk", "name", "tags"]
