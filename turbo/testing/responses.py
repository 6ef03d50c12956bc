"""What a response carries."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse

from turbo.shortcuts import STREAM_CONTENT_TYPE
from turbo.testing.describing import describe, id_of
from turbo.testing.reading import StreamElement, matching, read_elements

__all__ = ["ACCEPT_STREAMS", "assert_no_turbo_stream", "assert_turbo_stream"]

#: Headers of a request as Turbo makes it for a form: it accepts streams.
ACCEPT_STREAMS = {
    "Accept": f"{STREAM_CONTENT_TYPE}, text/html, application/xhtml+xml"
}
