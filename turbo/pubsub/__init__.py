"""
Model changes on Redis channels, for other services.

Put ``"turbo.pubsub"`` into ``INSTALLED_APPS`` and declare models listenable.
"""

from __future__ import annotations

from turbo.pubsub.declarations import ListenableModelMixin, ModelListenConfig
from turbo.pubsub.tokens import make_token

__all__ = ["ListenableModelMixin", "ModelListenConfig", "make_token"]
