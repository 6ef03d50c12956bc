"""What staff see of all processes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connections, router, transaction

from turbo.changes.durability import is_used as has_outbox
from turbo.inspector.access import is_in
from turbo.inspector.history import history
from turbo.inspector.process_report import ProcessReport, log_time, own_report
from turbo.inspector.reporter import get_reporter
from turbo.metrics import GAUGES, NAMES
from turbo.replay import get_replay
from turbo.runtime.namespaces import current

__all__ = ["overview"]

#: The numbers of the page: of all processes, and of each.
TOTALS = (
    ("connections", "Connections"),
    ("subscribers", "Subscriptions"),
    ("queue", "Queue"),
    ("outbox", "Outbox"),
    ("published", "Published"),
    ("delivered", "Delivered"),
    ("refused", "Refused"),
    ("limited", "Limited"),
    ("gaps", "Gaps"),
    ("closed_slow", "Slow clients"),
    ("dropped", "Dropped"),
    ("failed", "Failed"),
)
#: Those that should stay zero, or nearly so.
TROUBLES = {"refused", "limited", "gaps", "closed_slow", "dropped", "failed"}
#: The most streams and incidents on the page.
SHOWN = 30
#: Seconds without a report after which a process is called silent.
SILENT = 8
#: The most rows of the outbox that are counted.
MOST = 1_000


def overview() -> dict[str, Any]:
    """Return the context of ``turbo/inspector/overview.html``."""
    (reports, problem), here = _reports(), current()
    now, own = log_time(), own_report(history)
    totals = sum((Counter(report.numbers) for report in reports), Counter())
    columns = [(n, t) for n, t in TOTALS if n != "outbox" or has_outbox()]
    return {
        "problem": problem,
        "totals": [
            {
                "name": name,
                "label": label,
                "value": totals[name],
                "meaning": MEANINGS[name],
                "is_trouble": name in TROUBLES and totals[name] > 0,
            }
            for name, label in columns
        ],
        "columns": [label for _, label in columns],
        "processes": [
            {
                "host": report.host,
                "pid": report.pid,
                "program": report.program,
                "is_this": report.key == own.key,
                "up": str(timedelta(seconds=report.age)),
                "silent": _silence(report, now),
                "cells": [
                    (label, report.numbers.get(name, 0), name in TROUBLES)
                    for name, label in columns
                ],
            }
            for report in reports
        ],
        "top": _top(reports, here),
        "incidents": _incidents(reports, here),
        "outbox": _outbox(),
    }


MEANINGS = NAMES | GAUGES


def _reports() -> tuple[list[ProcessReport], str]:
    """Return the reports of all processes, and why there are not more of them."""
    problem, found = "", list[ProcessReport]()
    try:
        found = get_reporter().look()
    except Exception:
        problem = (
            "The replay log does not answer, so this page knows only the process that "
            "serves it."
        )
    else:
        if not (get_replay().supports_processes and get_replay().supports_replay):
            problem = (
                "This project has no replay log that its processes share, so this page "
                "knows only the process that serves it."
            )
    own = own_report(history)  # as of now
    others = [report for report in found if report.key != own.key]
    order = sorted([own, *others], key=lambda r: (r.host, r.program, r.pid, r.key))
    return order, problem


def _silence(report: ProcessReport, now: int) -> int:
    seconds = (now - report.at) // 1_000_000
    return seconds if seconds >= SILENT else 0


def _top(reports: Sequence[ProcessReport], here: str) -> list[dict[str, Any]]:
    """Return the streams of a namespace with the most subscribers."""
    counts: Counter[str] = Counter()
    shown_by: Counter[str] = Counter()
    for report in reports:
        for name, number in report.streams:
            if is_in(here, name):
                counts[name] += number
                shown_by[name] += 1
    return [
        {"name": name, "subscribers": number, "processes": shown_by[name]}
        for name, number in counts.most_common(SHOWN)
    ]


def _incidents(reports: Sequence[ProcessReport], here: str) -> list[dict[str, Any]]:
    found = [
        {**asdict(incident), "process": f"{report.host}:{report.pid}"}
        for report in reports
        for incident in report.incidents
        if is_in(here, incident.stream)
    ]
    return sorted(found, key=lambda each: str(each["time"]), reverse=True)[:SHOWN]


def _outbox() -> list[dict[str, Any]]:
    """Return how many rows each outbox has: those that wait, and those set aside."""
    if not (has_outbox() and apps.is_installed("turbo.database")):
        return []
    model: Any = apps.get_model("turbo_database", "OutboxEntry")
    found = []
    for alias in connections:
        if not router.allow_migrate_model(alias, model):
            continue
        rows = model.objects.using(alias).order_by()
        try:
            with transaction.atomic(alias):  # a table may be missing
                waiting, aside = (
                    rows.filter(failed=failed)[: MOST + 1].count()
                    for failed in (False, True)
                )
        except DatabaseError:
            continue
        found.append(
            {"alias": alias, "waiting": _number(waiting), "set_aside": _number(aside)}
        )
    return found


def _number(count: int) -> str:
    return f"{MOST:,}+" if count > MOST else str(count)
