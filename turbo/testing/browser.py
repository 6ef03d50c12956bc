"""
Wait in browser tests until a page is subscribed, as it gets no messages before.

This module imports neither Playwright nor Selenium; it works with the page it is given.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

__all__ = ["await_for_streams", "wait_for_streams"]

#: All sources of the page with their states: connected, waiting, or why it is denied.
_SOURCES = """Array.from(
    document.querySelectorAll("turbo-channels-stream-source, turbo-stream-source"),
    (source) => {
      const name = source.getAttribute("signed-stream-name") ?? source.src
      const isOpen = source.streamSource?.readyState === EventSource.OPEN
      const state = source.hasAttribute("connected") || isOpen ? "connected" : "waiting"
      return [name, source.getAttribute("denied") ?? state]
    },
  )"""

_LOOK = f"() => {_SOURCES}"

#: Milliseconds between two looks.
_PAUSE = 50


def wait_for_streams(
    page: Any, *, count: int | None = None, timeout: float = 10
) -> None:
    """
    Wait until all sources of a page are connected, or exactly ``count`` of them.

    ``page`` is a page of Playwright's synchronous API, or a driver of Selenium::

        page.goto(f"{live_server.url}/rooms/1/")
        wait_for_streams(page)

    It fails as soon as a subscription is denied, and after ``timeout`` seconds, and
    lists the state of each source.
    """
    deadline = time.monotonic() + timeout
    while not _is_settled(sources := _look(page), count):
        if time.monotonic() > deadline:
            break
        _pause(page)
    _check(sources, count)


async def await_for_streams(
    page: Any,
    *,
    count: int | None = None,
    timeout: float = 10,
) -> None:
    """Async version of wait_for_streams(), for Playwright's asynchronous API."""
    deadline = time.monotonic() + timeout
    while not _is_settled(sources := await _alook(page), count):
        if time.monotonic() > deadline:
            break
        await page.wait_for_timeout(_PAUSE)
    _check(sources, count)


# Not wait_for_function(), which evaluates text in the page and needs 'unsafe-eval' in
# its Content-Security-Policy.
def _look(page: Any) -> Sequence[Sequence[str]]:
    if hasattr(page, "execute_script"):
        found: Sequence[Sequence[str]] = page.execute_script(f"return {_SOURCES}")
        return found
    try:
        found = page.evaluate(_LOOK)
    except Exception as error:
        _raise_unless_leaving(error)
        return []
    return found


async def _alook(page: Any) -> Sequence[Sequence[str]]:
    try:
        found: Sequence[Sequence[str]] = await page.evaluate(_LOOK)
    except Exception as error:
        _raise_unless_leaving(error)
        return []
    return found


def _raise_unless_leaving(error: Exception) -> None:
    # Playwright's only name for this: the page is just being replaced by another.
    if "because of a navigation" not in str(error):
        raise error


def _pause(page: Any) -> None:
    if hasattr(page, "execute_script"):
        time.sleep(_PAUSE / 1_000)
    else:
        page.wait_for_timeout(_PAUSE)


def _is_settled(sources: Sequence[Sequence[str]], count: int | None) -> bool:
    """Tell whether there is nothing left to wait for."""
    states = [state for _, state in sources]
    connected = states.count("connected")
    is_done = connected > 0 and connected == (len(states) if count is None else count)
    return is_done or connected + states.count("waiting") < len(states)


def _check(sources: Sequence[Sequence[str]], count: int | None) -> None:
    states = [state for _, state in sources]
    if states and states.count("connected") == (
        len(states) if count is None else count
    ):
        return
    wanted = "all" if count is None else str(count)
    lines = [f"  {state}: {name}" for name, state in sources]
    found = "\n".join(lines) or "  none: is there a turbo_subscribe on the page?"
    raise AssertionError(f"Expected {wanted} sources to be connected:\n{found}")
