from django.urls import path

from .consumers import Pocket

websocket_urlpatterns = [path("ws/pocket/", Pocket.as_asgi())]
