import app.views
import chat.views
import reminders.views
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [
    path("quickstart/", TemplateView.as_view(template_name="broadcast_example.html")),
    path("chat/", chat.views.RoomList.as_view(), name="index"),
    path("chat/<slug:pk>/", chat.views.RoomDetail.as_view(), name="room_detail"),
    path("chat/<slug:pk>/send/", chat.views.MessageCreate.as_view(), name="send"),
    path("message/<int:pk>/delete/", chat.views.message_delete, name="message_delete"),
    path("reminders/", reminders.views.reminder_list, name="reminder_list"),
    path("reminders/form/", reminders.views.reminder_form, name="reminder_form"),
    path("reminders/search/", reminders.views.reminder_search, name="reminder_search"),
    path("components/", app.views.components, name="components"),
    path("log-in/<str:username>/", app.views.log_in),
    *staticfiles_urlpatterns(),
]
