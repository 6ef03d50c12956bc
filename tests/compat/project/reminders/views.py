from django import forms
from django.shortcuts import render

from turbo.shortcuts import remove_frame, render_frame

from .models import Reminder


class ReminderForm(forms.ModelForm):
    class Meta:
        model = Reminder
        fields = ("text",)


def reminder_list(request):
    context = {"reminders": Reminder.objects.all()}
    return render(request, "reminders/reminder_list.html", context)


def reminder_form(request):
    if request.POST.get("action") == "Delete All":
        Reminder.objects.all().delete()
        return remove_frame(selector="#reminders li").response
    form = ReminderForm(request.POST or None)
    if form.is_valid():
        context = {"reminder": form.save()}
        frame = render_frame(request, "reminders/reminder.html", context)
        return frame.append(id="reminders").response
    return render(request, "reminders/reminder_form.html", {"form": form})


def reminder_search(request):
    found = Reminder.objects.filter(text__icontains=request.POST["search"])
    frame = render_frame(request, "reminders/reminders.html", {"reminders": found})
    return frame.replace(id="reminders").response
