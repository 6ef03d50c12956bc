import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

from turbo.consumers import TurboStreamsConsumer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": TurboStreamsConsumer.as_asgi(),
    }
)
