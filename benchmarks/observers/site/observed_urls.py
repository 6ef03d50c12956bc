from __future__ import annotations

import queries
from django.http import HttpRequest, HttpResponse
from django.urls import path


def statements(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(queries.statements()))


urlpatterns = [path("statements", statements)]
