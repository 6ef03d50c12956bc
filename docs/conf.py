"""How Sphinx builds this documentation; ``nox --session docs`` does it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import django
from docutils.nodes import Node
from docutils.parsers.rst.directives.images import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import turbo  # noqa: E402

project = "django-turbo-streams"
copyright = "the django-turbo-streams authors"
version = release = turbo.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"django-turbo-streams {version}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
autodoc_default_options = {"show-inheritance": True}

nitpicky = True
# The inventories of other projects are not fetched: a build needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(asyncio|collections|datetime|pathlib)\..*"),
    ("py:.*", r"(asgiref|channels|django|redis)\..*"),
    ("py:.*", r"(rest_framework|rest_framework_.*|playwright|selenium|uvicorn)\..*"),
    # Type variables, protocols and returned objects that nobody has to name.
    ("py:.*", r"turbo\.[\w.]+\.[A-Z]"),
    ("py:.*", r"turbo\.http\.forms\.(Response|View)"),
    ("py:.*", r"turbo\.testing\.broadcasts\.BroadcastCapture"),
    ("py:.*", r"turbo\.streams\.rendering\.BackendTemplate"),
    ("py:.*", r"turbo\.connections\.websocket\.WebSocket"),
    ("py:.*", r"turbo\.replay\.positions\.Moment"),
    ("py:.*", r"(turbo\.runtime\.tracing\.)?Trace"),
    ("py:.*", r"turbo\.shortcuts\.(SafeHtml|Streaming)"),
]

# Examples in docstrings are run by the tests, which import every module.
doctest_test_doctest_blocks = ""


class Screenshot(Image):
    """A picture that ``docs/screenshots.py`` makes; without a browser there is none."""

    def run(self) -> list[Node]:
        name = f"_build/screenshots/{self.arguments[0]}.png"
        if not (ROOT / "docs" / name).exists():
            return []
        self.arguments[0] = f"/{name}"
        return list(super().run())


def setup(app: Any) -> None:
    """Give things that are neither Python nor settings an entry of their own."""
    app.add_directive("screenshot", Screenshot)
    app.add_object_type("check", "check", "pair: %s; system check")
    app.add_object_type("metric", "metric", "pair: %s; metric")
    app.add_object_type("domevent", "domevent", "pair: %s; DOM event")
