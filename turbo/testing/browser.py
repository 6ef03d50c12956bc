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
_SOURCES = """
  [...document.querySelectorAll("turbo-channels-stream-source, turbo-stream-source")]
    .map((source) => {
      const name = source.getAttribute("signed-stream-name") ?? source.src
      const isOpen = source.streamSource?.readyState === EventSource.OPEN
      const state = source.hasAttribute("connected") || isOpen ? "connected" : "waiting"
      return [name, source.getAttribute("denied") ?? state]
    })
"""

#: The same once there is nothing left to wait for, and ``false`` until then.
_SETTLED = f"""
  (count) => {{
    const sources = {_SOURCES}
    const connected = sources.filter(([, state]) => state === "connected").length
    const waiting = sources.filter(([, state]) => state === "waiting").length
    const isDone = connected > 0 && connected === (count ?? sources.length)
    return isDone || connected + waiting < sources.length ? sources : false
  }}
"""

_POLL = 0.05


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
    if hasattr(page, "execute_script"):
        return _check(_poll(page, count, timeout), count)
    try:
        handle = page.wait_for_function(_SETTLED, arg=count, timeout=timeout * 1_000)
        sources = handle.json_value()
    except Exception as error:
        _raise_unless_late(error)
        sources = page.evaluate(f"() => {_SOURCES.strip()}")
    _check(sources, count)


async def await_for_streams(
    page: Any,
    *,
    count: int | None = None,
    timeout: float = 10,
) -> None:
    """Async version of wait_for_streams(), for Playwright's asynchronous API."""
    try:
        handle = await page.wait_for_function(
            _SETTLED, arg=count, timeout=timeout * 1_000
        )
        sources = await handle.json_value()
    except Exception as error:
        _raise_unless_late(error)
        sources = await page.evaluate(f"() => {_SOURCES.strip()}")
    _check(sources, count)


def _poll(driver: Any, count: int | None, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        sources = driver.execute_script(f"return ({_SETTLED})(arguments[0])", count)
        if sources:
            return sources
        time.sleep(_POLL)
    return driver.execute_script(f"return {_SOURCES.strip()}")


def _raise_unless_late(error: Exception) -> None:
    # Playwright has its own TimeoutError, which is not the builtin.
    if type(error).__name__ != "TimeoutError":
        raise error


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
