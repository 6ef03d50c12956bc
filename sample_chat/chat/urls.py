from django.urls import path

from . import views

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("rooms/new/", views.new_room, name="new_room"),
    path("rooms/<int:pk>/", views.room, name="room"),
    path("rooms/<int:pk>/messages/", views.new_message, name="new_message"),
    path("rooms/<int:pk>/before/<int:before>/", views.older_messages, name="older"),
    path("rooms/<int:pk>/members/", views.members, name="members"),
    path("rooms/<int:pk>/import/", views.import_messages, name="import"),
    path("rooms/<int:pk>/import/<slug:id>/", views.importing, name="importing"),
    path("messages/<int:pk>/", views.message, name="message"),
    path("messages/<int:pk>/edit/", views.edit_message, name="edit_message"),
    path("messages/<int:pk>/delete/", views.delete_message, name="delete_message"),
    path("messages/<int:pk>/moderate/", views.moderate, name="moderate"),
    path("messages/<int:pk>/stop/", views.stop_answer, name="stop_answer"),
    path("announcements/", views.announce, name="announce"),
]
