"""The Django app, which follows messages from the start of the project."""

from __future__ import annotations

from django.apps import AppConfig

from turbo.exceptions import ConfigurationError
from turbo.runtime import tracing

try:
    from turbo.telemetry.spans import SpanTracer
except ImportError as error:
    raise ConfigurationError(
        '"turbo.telemetry" is in INSTALLED_APPS and needs opentelemetry-api: install '
        '"django-turbo-streams[telemetry]".'
    ) from error

__all__ = ["TelemetryConfig"]


class TelemetryConfig(AppConfig):
    """Install the tracer."""

    name = "turbo.telemetry"
    label = "turbo_telemetry"
    verbose_name = "Turbo telemetry"

    def ready(self) -> None:
        """Follow all messages from now on."""
        tracing.install(SpanTracer())
