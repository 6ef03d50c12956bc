from django import forms

from .models import Card


class CardForm(forms.ModelForm):
    class Meta:
        model = Card
        fields = ["title"]


class MoveForm(forms.ModelForm):
    class Meta:
        model = Card
        fields = ["column"]
