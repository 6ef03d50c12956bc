"""The choice of a backend: the one that a setting names, or a default that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from turbo.exceptions import ConfigurationError
from turbo.runtime.forks import Lock, after_in_child

__all__ = ["Selection"]


class Backend(Protocol):
    """A backend that can be selected."""

    #: Whether several processes see what the backend holds.
    supports_processes: ClassVar[bool]


B = TypeVar("B", bound=Backend)


class Selection(Generic[B]):
    """
    The backend of this process.

    It is made on first use. It is made again after the settings have changed, and in a
    forked process if the backend does not support several processes.
    """

    def __init__(
        self,
        base: type[B],
        *,
        setting: str,
        choose: Callable[[], str],
        make: Callable[[type[B]], B],
    ) -> None:
        """``choose`` returns the dotted path of a class, and ``make`` an instance."""
        self._base = base
        self._setting = setting
        self._choose = choose
        self._make = make
        self._backend: B | None = None
        self._lock = Lock()  # held while _backend is made
        setting_changed.connect(self._on_setting_changed)
        after_in_child(self._after_fork)

    def get(self) -> B:
        """Return the backend; any thread may call this."""
        backend = self._backend
        if backend is None:
            with self._lock:
                backend = self._backend
                if backend is None:
                    backend = self._backend = self._make(self._class())
        return backend

    def forget(self) -> None:
        """Make the next call create a new backend; data held in memory is lost."""
        self._backend = None

    def _class(self) -> type[B]:
        path = self._choose()
        backend_class = import_string(path)
        if isinstance(backend_class, type) and issubclass(backend_class, self._base):
            return backend_class
        raise ConfigurationError(
            f"{self._setting} is {path!r}, which is not a {self._base.__name__}."
        )

    def _on_setting_changed(self, *, setting: str, **kwargs: Any) -> None:
        if setting in {"TURBO", "CHANNEL_LAYERS"}:
            self.forget()

    def _after_fork(self) -> None:
        if self._backend is not None and not self._backend.supports_processes:
            self.forget()
