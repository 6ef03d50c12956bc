"""Every example in a docstring prints what it says."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.support.rooms import modules

NAMES = [f"turbo.{name}".rstrip(".") for name in modules()]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    """The examples of the module hold."""
    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0
