"""
The project with OpenTelemetry's SDK, which keeps the spans of its process.

``/spans/`` shows them, and ``/saved/`` saves a message inside a span of its own.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from turbo.asgi import get_application

application = get_application()

from tests.testapp.models import Message  # noqa: E402
from turbo.telemetry.latency import latency  # noqa: E402

exporter = InMemorySpanExporter()
_provider = TracerProvider()
_provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(_provider)


def described(span: ReadableSpan) -> dict[str, object]:
    """Return what tests look at."""
    assert span.context is not None
    return {
        "name": span.name,
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "attributes": dict(span.attributes or {}),
        "begun": span.start_time,
        "ended": span.end_time,
    }


def spans(request: HttpRequest) -> JsonResponse:
    found = [described(span) for span in exporter.get_finished_spans()]
    return JsonResponse({"spans": found, "measured": latency.read().total})


def saved(request: HttpRequest) -> HttpResponse:
    with trace.get_tracer("tests").start_as_current_span("saved"):
        Message.objects.create(room_id=1, text=request.GET["text"])
    return HttpResponse("done")


urlpatterns = [
    path("spans/", spans),
    path("saved/", saved),
    path("", include("tests.project.urls")),
]
