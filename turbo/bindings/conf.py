"""The settings of the bindings: ``TURBO["BINDINGS"]``, read as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turbo.conf import section_reader

__all__ = ["BindingSettings", "get_binding_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingSettings:
    """Every key of ``TURBO["BINDINGS"]``, in lower case, with its default."""

    #: Dotted path of the store; ``None`` chooses one that fits the channel layer.
    backend: str | None = None
    #: Redis hosts of the store; ``None`` stands for those of the channel layer.
    hosts: Any = None
    #: Prefix of every Redis key.
    prefix: str = "turbo"
    #: Seconds that a call to Redis may take; a database has time-outs of its own.
    timeout: float = 1.0
    #: Seconds for which an unused binding is kept.
    max_age: float = 604_800.0
    #: Changes kept per binding, for clients that reconnect.
    log_length: int = 1_000
    #: Seconds that reading a binding from the database may take.
    patience: float = 60.0
    #: The number of bindings of which a process keeps a copy.
    copies: int = 64
    #: Seconds to wait for another process that is filling a binding.
    wait: float = 5.0


get_binding_settings = section_reader("BINDINGS", BindingSettings)
