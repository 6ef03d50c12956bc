from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.generic import CreateView, DetailView, ListView

from .models import Message, Room


class RoomList(ListView):
    model = Room
    context_object_name = "rooms"


class RoomDetail(DetailView):
    model = Room
    context_object_name = "room"


class MessageCreate(CreateView):
    model = Message
    fields = ("text",)
    template_name = "chat/components/send_message.html"

    def form_valid(self, form):
        form.instance.room = get_object_or_404(Room, pk=self.kwargs["pk"])
        return super().form_valid(form)

    def get_success_url(self):
        return reverse("send", kwargs={"pk": self.kwargs["pk"]})


def message_delete(request, pk):
    get_object_or_404(Message, pk=pk).delete()
    return HttpResponse()
