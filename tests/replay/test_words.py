"""Words are new in every process, also in one that was forked."""

from __future__ import annotations

import os
import re
from unittest.mock import patch

import pytest

from turbo.replay.words import Words


def test_each_word_is_another_one() -> None:
    words = [Words(), Words()]

    made = [word.new() for word in words for _ in range(1_000)]

    assert len(set(made)) == 2_000
    assert all(re.fullmatch("[0-9a-z]{1,32}", word) for word in made)


def test_the_system_is_not_asked_for_each() -> None:
    words = Words()

    with patch("secrets.token_hex", side_effect=AssertionError):
        words.new()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_others() -> None:
    words = Words()
    before = words.new()
    read, write = os.pipe()
    if not (pid := os.fork()):
        os.write(write, words.new().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(read, 100).decode()
    os.close(read)
    os.close(write)

    own = before[:-1]
    assert words.new() == f"{own}1"
    assert not child.startswith(own)
