from __future__ import annotations

from django.contrib.staticfiles.views import serve
from django.urls import include, path

from tests.project import boards, forums, views

urlpatterns = [
    path("", views.health),
    path("counters/", views.counters),
    path("let-go/", views.let_go),
    path("login/<str:username>/", views.log_in),
    path("logout/", views.log_out),
    path("rooms/<int:pk>/", views.room),
    path("rooms/<int:pk>/say/", views.say),
    path("rooms/<int:pk>/act/<str:how>/", views.act),
    path("text/", views.text),
    path("lounge/<str:transport>/", views.lounge),
    path("boards/", include(boards)),
    path("forum/", include(forums)),
    path("turbo/", include("turbo.urls")),
    path("__turbo__/", include("turbo.inspector.urls")),
    path("static/<path:path>", serve, {"insecure": True}),
]
