import os

from turbo.asgi import get_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Named, not imported: their models need Django to be set up.
application = get_application("config.routing.websocket_urlpatterns")
