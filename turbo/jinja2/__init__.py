"""
The tags of ``turbo_streams`` as functions for templates of Jinja2::

    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.jinja2.Jinja2",
            "APP_DIRS": True,
            "OPTIONS": {"extensions": ["turbo.jinja2.TurboExtension"]},
        },
        # … that of Django's own templates
    ]
"""

from __future__ import annotations

from turbo.jinja2.extension import TurboExtension

__all__ = ["TurboExtension"]
