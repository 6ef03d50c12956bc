from django import forms
from django.contrib.auth import get_user_model

from .models import Announcement, Message, Room


class RoomForm(forms.ModelForm):
    class Meta:
        model = Room
        fields = ["name", "members_only"]


class MessageForm(forms.ModelForm):
    class Meta:
        model = Message
        fields = ["text"]
        widgets = {
            "text": forms.Textarea(attrs={"rows": 1, "placeholder": "Write a message"})
        }


class NewMessageForm(MessageForm):
    key = forms.UUIDField(required=False, widget=forms.HiddenInput)


class ImportForm(forms.Form):
    lines = forms.CharField(
        label="messages, one on each line",
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 8}),
    )

    def clean_lines(self):
        lines = self.cleaned_data["lines"].splitlines()
        return [line.strip()[:2000] for line in lines if line.strip()]


class AnnouncementForm(forms.ModelForm):
    class Meta:
        model = Announcement
        fields = ["text"]


class MemberForm(forms.Form):
    user = forms.ModelChoiceField(get_user_model().objects.none(), empty_label=None)

    def __init__(self, *args, users, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = users
