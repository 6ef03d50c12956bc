import os

from turbo.asgi import get_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_application()
