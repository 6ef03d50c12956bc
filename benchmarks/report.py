"""Make the report: a table of medians, and ratios between rows of the same layer."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path

from benchmarks.fanout import Fanout
from benchmarks.systems import System

__all__ = ["claims", "document", "median", "table"]

COLUMNS = {
    "rate": ("Deliveries/s", "{:,.0f}"),
    "burst": ("in bursts", "{:,.0f}"),
    "cpu": ("CPU µs each", "{:.1f}"),
    "p50": ("p50 ms", "{:.0f}"),
    "p99": ("p99 ms", "{:.0f}"),
    "memory": ("KB/connection", "{:.0f}"),
    "connect": ("connect ms", "{:.2f}"),
    "lost": ("Lost", "{:.0f}"),
    "load": ("Load busy", "{:.0%}"),
}


def median(rows: Sequence[Fanout]) -> Fanout:
    """Return a row with the median of each figure in ``rows``."""
    return Fanout(
        **{
            field.name: statistics.median(getattr(row, field.name) for row in rows)
            for field in fields(Fanout)
        }
    )


def table(results: Mapping[System, Fanout]) -> list[list[str]]:
    """Return the lines of the table, with its head first."""
    titles = [title for title, _ in COLUMNS.values()]
    lines = [["System", "Layer", *titles]]
    for system, row in results.items():
        figures = [
            form.format(getattr(row, name)) for name, (_, form) in COLUMNS.items()
        ]
        lines.append([str(system), system.layer, *figures])
    return lines


def claims(results: Mapping[System, Fanout]) -> list[str]:
    """Return sentences with the ratios between our figures and each peer's."""
    by_name = {(str(system), system.layer): row for system, row in results.items()}
    lines = []
    for (name, layer), ours in by_name.items():
        if not name.startswith("turbo on"):
            continue
        server, offered = name.removeprefix("turbo on "), ""
        if ", " in server:
            server, offered = server.split(", ")
            offered = f", {offered}"
        peers = [("nginx + nchan", ""), ("Node ws", ""), ("socket.io", "")]
        for peer, its_layer in [*peers, (f"turbo-django on {server}", layer)]:
            if theirs := by_name.get((peer + offered, its_layer)):
                lines.append(
                    f"{name}, {layer}, against {peer}{offered}: "
                    f"{ours.rate / theirs.rate:.2f} times the deliveries, "
                    f"{ours.cpu / theirs.cpu:.2f} times the CPU for each, "
                    f"{ours.memory / theirs.memory:.2f} times the memory, "
                    f"{ours.connect / theirs.connect:.2f} times the CPU to connect"
                )
    return lines


def document(
    lines: Sequence[Sequence[str]], further: Iterable[str], *, clients: int
) -> str:
    """Return the page for the documentation."""
    head = [
        "Benchmarks",
        "==========",
        "",
        "``nox -s bench`` writes this page; :doc:`performance` explains",
        "the columns.",
        "",
        f"{clients:,} WebSocket clients, a message of 340 bytes, one core for the",
        f"server and one for the load; {date.today():%B %Y}, {_machine()},",
        f"Python {platform.python_version()}, Linux {platform.release()},",
        f"load average {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores;",
        "if it is above two, other work ran as well and the times mean little.",
        "",
        "The load is written in C; a row in which it was busy for more than 80 % of",
        "its time counts for nothing.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
    ]
    rows = [
        f"   {'* ' if not place else '  '}- {cell or '—'}"
        for line in lines
        for place, cell in enumerate(line)
    ]
    return "\n".join([*head, *rows, "", *(f"* {line}" for line in further), ""])


def _machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
