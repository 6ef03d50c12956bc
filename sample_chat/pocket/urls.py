from django.urls import path

from . import views

urlpatterns = [path("", views.pocket, name="pocket")]
