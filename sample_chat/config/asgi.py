import os

from turbo.asgi import get_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# A dotted path, because an import would need models before Django is set up.
application = get_application("config.routing.websocket_urlpatterns")
