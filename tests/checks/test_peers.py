"""A setting of a library that was left is told, with what takes its place."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from django.core import checks as django_checks
from django.test import override_settings

from tests.support.documents import DOCS
from turbo.checks.peers import PREFIXES, SECTIONS, check_peers
from turbo.conf import get_settings
from turbo.observers.conf import get_observer_settings
from turbo.pubsub.conf import get_pubsub_settings


def told(**overrides: Any) -> list[tuple[str, str | None]]:
    with override_settings(**overrides):
        found = check_peers()
    assert {message.id for message in found} <= {"turbo.W017"}
    return [(message.msg, message.hint) for message in found]


def test_a_project_without_leftovers_hears_nothing() -> None:
    assert told() == []


def test_what_is_left_of_django_channels_rest_framework_is_told() -> None:
    left = {"DEFAULT_PERMISSION_CLASSES": ["x.IsAuthenticated"], "PAGESIZE": 3}

    assert told(DJANGO_CHANNELS_REST_API=left) == [
        (
            "DJANGO_CHANNELS_REST_API['DEFAULT_PERMISSION_CLASSES'] has no effect.",
            "Use TURBO['OBSERVERS']['PERMISSION_CLASSES'] instead, and remove it.",
        ),
        (
            "DJANGO_CHANNELS_REST_API['PAGESIZE'] has no effect.",
            "It has no counterpart here; remove it.",
        ),
    ]


def test_what_is_left_of_tg_pubsub_is_told() -> None:
    assert told(TG_PUBSUB_PING_DELTA=30) == [
        (
            "TG_PUBSUB_PING_DELTA has no effect.",
            "Use TURBO['PUBSUB']['PING_INTERVAL'] instead, and remove it.",
        )
    ]


def test_settings_of_a_library_that_is_still_used_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("djangochannelsrestframework", "tg_pubsub"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))

    assert told(DJANGO_CHANNELS_REST_API={"PAGE_SIZE": 9}, TG_PUBSUB_PORT=1) == []


def test_a_library_may_be_imported_by_what_serves_the_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = "djangochannelsrestframework"

    def application(name: str) -> object:
        monkeypatch.setitem(sys.modules, peer, ModuleType(peer))
        return object()

    monkeypatch.setitem(globals(), "__getattr__", application)

    left = {"PAGE_SIZE": 9}
    assert told(DJANGO_CHANNELS_REST_API=left, ASGI_APPLICATION=f"{__name__}.x") == []


def test_the_counterparts_exist() -> None:
    readers = {"OBSERVERS": get_observer_settings, "PUBSUB": get_pubsub_settings}
    for counterparts in [*SECTIONS.values(), *PREFIXES.values()]:
        for counterpart in counterparts.values():
            if counterpart.startswith("TURBO["):
                _, section, _, key, _ = counterpart.split("'")
                assert hasattr(get_settings(), section.lower())
                assert hasattr(readers[section](), key.lower())


def test_the_how_to_has_the_same_settings() -> None:
    shown = (DOCS / "howto/migrating-from-tg-pubsub.rst").read_text()

    for (_, prefix), counterparts in PREFIXES.items():
        assert all(f"``{prefix}{name}``" in shown for name in counterparts)


def test_the_check_is_registered() -> None:
    assert check_peers in django_checks.registry.registry.registered_checks
