"""
What one process reports to the inspectors of all: names and counts, no contents.

Reports are bounded and travel as JSON. Their time is that of the replay log, so the
clocks of the machines need not agree.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from turbo.delivery.hub import subscriber_of, subscribers
from turbo.delivery.names import CONTROL, stream_id
from turbo.delivery.unreadable import json_object
from turbo.inspector.history import Incident, InspectorHistory
from turbo.metrics import GAUGES, NAMES, counters
from turbo.replay import get_replay
from turbo.replay.positions import Moment, parse
from turbo.runtime.forks import after_in_child

__all__ = ["ProcessReport", "StreamCount", "log_time", "own_report"]

#: The most streams of a report, and the most incidents.
STREAMS, INCIDENTS = 20, 20
#: The most characters of a name in a report.
LONGEST = 200

_word = secrets.token_hex(4)
_begun = time.time()


@after_in_child
def _after_fork() -> None:
    global _word, _begun
    _word, _begun = secrets.token_hex(4), time.time()


class StreamCount(NamedTuple):
    """A stream's name, or its id if the name is not known, and its subscribers."""

    name: str
    subscribers: int


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The state of one process; ``at`` and ``age`` are microseconds and seconds."""

    key: str
    host: str
    pid: int
    program: str
    age: int
    at: int
    numbers: dict[str, int]
    streams: tuple[StreamCount, ...]
    incidents: tuple[Incident, ...]

    def write(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str | None) -> ProcessReport | None:
        """Return what :meth:`write` has written, or ``None`` for anything else."""
        try:
            return cls._made(json_object(text))
        except (AttributeError, KeyError, TypeError, ValueError):  # of another version
            return None

    @classmethod
    def _made(cls, given: dict[str, Any]) -> ProcessReport:
        numbers = given["numbers"].items()
        return cls(
            key=str(given["key"]),
            host=str(given["host"]),
            pid=int(given["pid"]),
            program=str(given["program"]),
            age=int(given["age"]),
            at=int(given["at"]),
            numbers={str(name): int(value) for name, value in numbers},
            streams=tuple(StreamCount(str(n), int(c)) for n, c in given["streams"]),
            incidents=tuple(
                Incident(*(str(each[name]) for name in Incident.__match_args__))
                for each in given["incidents"]
            ),
        )


def log_time() -> int:
    """Return the time of the log in microseconds, or that of this machine."""
    moment = parse(get_replay().moment())
    return moment.time if isinstance(moment, Moment) else time.time_ns() // 1_000


def own_report(history: InspectorHistory) -> ProcessReport:
    """Return the report of this process."""
    known = NAMES.keys() | GAUGES.keys()
    numbers = {name: value for name, value in counters().items() if name in known}
    return ProcessReport(
        key=_word,
        host=socket.gethostname()[:LONGEST],
        pid=os.getpid(),
        program=_program(),
        age=max(0, round(time.time() - _begun)),
        at=log_time(),
        numbers=numbers,
        streams=tuple(_top_streams(history)),
        incidents=tuple(map(_shortened, history.incidents()[:INCIDENTS])),
    )


def _program() -> str:
    """Return the name of the program; its other arguments may be secret."""
    path, command = [*sys.argv, "", ""][:2]
    name = Path(path).name
    if name == "__main__.py":  # python -m daphne
        name = Path(path).parent.name
    elif name == "manage.py" and command.isidentifier():
        name = f"{name} {command}"
    return name[:LONGEST]


def _top_streams(history: InspectorHistory) -> list[StreamCount]:
    counts = subscribers()
    del counts[stream_id(CONTROL)]
    known = history.names()
    return [
        StreamCount((known.get(sid) or _held_name(sid) or sid)[:LONGEST], number)
        for sid, number in counts.most_common(STREAMS)
    ]


def _held_name(sid: str) -> str | None:
    """Return the name under which a page of this process has subscribed."""
    held = getattr(subscriber_of(sid), "held", None)
    for item in held() if held is not None else ():
        if getattr(item, "sid", None) == sid:
            return str(item.name)
    return None


def _shortened(incident: Incident) -> Incident:
    texts = asdict(incident).values()
    return Incident(*(text[:LONGEST] for text in texts))
