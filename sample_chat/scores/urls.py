from django.urls import path

from . import views

urlpatterns = [path("", views.scores, name="scores")]
