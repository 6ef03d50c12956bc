from rest_framework import serializers

from .models import Score


class ScoreSerializer(serializers.ModelSerializer):
    name = serializers.CharField(source="user.first_name")

    class Meta:
        model = Score
        fields = ["name", "cups"]
