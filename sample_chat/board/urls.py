from django.urls import path

from . import views

urlpatterns = [
    path("", views.board, name="board"),
    path("cards/<int:pk>/", views.edit_card, name="edit_card"),
    path("cards/<int:pk>/move/", views.move_card, name="move_card"),
    path("cards/<int:pk>/delete/", views.delete_card, name="delete_card"),
]
