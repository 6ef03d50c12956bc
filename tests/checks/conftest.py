"""What the tests of the checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import pytest
from django.conf import settings

ListApps: TypeAlias = Callable[[Sequence[str]], None]


@pytest.fixture
def list_apps() -> Iterator[ListApps]:
    """
    Return a function that changes ``INSTALLED_APPS`` for this test.

    Unlike ``override_settings()``, it does not set up all apps again.
    """
    with pytest.MonkeyPatch.context() as patch:
        yield lambda apps: patch.setitem(
            vars(settings._wrapped), "INSTALLED_APPS", apps
        )
