"""The WebSockets of the apps; the library adds the one of the streams."""

import pocket.routing
import scores.routing

websocket_urlpatterns = [
    *pocket.routing.websocket_urlpatterns,
    *scores.routing.websocket_urlpatterns,
]
