"""
The latest broadcasts and incidents of this process.

All lists are bounded, so the history does not grow with time. Entries are added in the
thread that broadcasts or counts, which may be that of the event loop, so nothing else
is done there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from django.core import signing

from turbo.connections.permissions import Refusal
from turbo.delivery.audiences import by_audience
from turbo.delivery.names import CONTROL, SALT, stream_id
from turbo.delivery.recorders import recording
from turbo.inspector.streams import Inspection
from turbo.metrics import NAMES, counted
from turbo.runtime.forks import Lock
from turbo.runtime.namespaces import split

__all__ = ["Broadcast", "Incident", "InspectorHistory", "history", "shown"]

#: The number of broadcasts to keep, and the number of incidents.
KEPT = 50
#: The number of stream names to keep.
NAMES_KEPT = 1_000
#: The number of characters to keep of one broadcast.
LONGEST = 10_000
#: The counters whose every increment is an incident.
TROUBLES = frozenset(
    {"bad_frames", "closed_slow", "dropped", "failed", "gaps", "refused", "revoked"}
)


def _now() -> str:
    return time.strftime("%H:%M:%S")


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One message that was sent."""

    name: str
    data: str
    time: str = field(default_factory=_now)


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure, refusal or loss, from a counter."""

    kind: str
    stream: str
    why: str
    time: str = field(default_factory=_now)


class InspectorHistory:
    """The last broadcasts and incidents, newest first."""

    def __init__(self) -> None:
        self._lock = Lock()  # owns the lists
        self._broadcasts: deque[Broadcast] = deque(maxlen=KEPT)
        self._incidents: deque[Incident] = deque(maxlen=KEPT)
        self._names: deque[str] = deque(maxlen=NAMES_KEPT)
        self._looking = ExitStack()
        self._is_open = False
        self._has_contents = True

    @property
    def is_open(self) -> bool:
        """Return whether it is being recorded."""
        return self._is_open

    def open(self, *, contents: bool = True) -> None:
        """Start recording; without ``contents`` only names and incidents."""
        self.close()
        self._is_open, self._has_contents = True, contents
        self._looking.enter_context(recording(self._note_broadcast))
        counted.connect(self._note_count)
        self._looking.callback(counted.disconnect, self._note_count)

    def close(self) -> None:
        """Stop recording, and delete all entries."""
        self._looking.close()
        self._is_open = False
        with self._lock:
            for notes in (self._broadcasts, self._incidents, self._names):
                notes.clear()

    def broadcasts(self) -> list[Broadcast]:
        """Return the last broadcasts."""
        with self._lock:
            return list(self._broadcasts)

    def incidents(self) -> list[Incident]:
        """Return the last incidents."""
        with self._lock:
            return list(self._incidents)

    def names(self) -> dict[str, str]:
        """Return the names of recent streams, by their ids."""
        with self._lock:
            heard = [CONTROL, *self._names]
        return {stream_id(name): name for name in heard}

    def _note_broadcast(self, name: str, data: str) -> None:
        if split(name)[1] == Inspection.label:
            return
        self._learn([name])
        if not self._has_contents:
            return
        data = shown(data)
        short = data if len(data) <= LONGEST else f"{data[:LONGEST]}…"
        with self._lock:
            self._broadcasts.appendleft(Broadcast(name, short))
        Inspection.changed()

    def _note_count(self, name: str, value: int, **details: Any) -> None:
        self._learn(item.stream.stream_name for item in details.get("allowed", ()))
        if value and name in TROUBLES:
            incidents = self._incidents_of(name, value, **details)
            with self._lock:
                self._incidents.extendleft(incidents)
            if self._has_contents:
                Inspection.changed()

    def _incidents_of(
        self,
        kind: str,
        value: int,
        *,
        refusals: Iterable[Refusal] | None = None,
        sid: str = "",
        **others: Any,
    ) -> list[Incident]:
        if refusals is not None:
            return [Incident(kind, *_read(refusal)) for refusal in refusals]
        return [Incident(kind, self.names().get(sid, sid), f"{value}: {NAMES[kind]}")]

    def _learn(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                if name not in self._names:
                    self._names.append(name)


def shown(data: str) -> str:
    """Return a message as text, with a line for each audience that gets its own."""
    forms = by_audience(data)
    if None in forms:
        return data
    return "\n".join(f"{audience}: {form}" for audience, form in forms.items() if form)


def _read(refusal: Refusal) -> tuple[str, str]:
    """Return the name of the refused stream, and the reason."""
    try:
        name, user, *_ = signing.loads(refusal.signed, salt=SALT)
    except (signing.BadSignature, ValueError):
        return f"{refusal.signed[:60]}…", refusal.reason
    whose = f", on a page made for user {user}" if user else ""
    return name, f"{refusal.reason}{whose}"


#: The history of this process.
history = InspectorHistory()
