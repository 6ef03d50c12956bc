from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

login = LoginView.as_view(
    redirect_authenticated_user=True, extra_context={"demo": settings.DEBUG}
)

urlpatterns = [
    path("", include("chat.urls")),
    path("board/", include("board.urls")),
    path("pocket/", include("pocket.urls")),
    path("scores/", include("scores.urls")),
    path("login/", login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("turbo/", include("turbo.urls")),
    path("admin/", admin.site.urls),
    path("__turbo__/", include("turbo.inspector.urls")),  # for staff
]
