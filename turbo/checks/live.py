"""Checks that send messages, with the setup of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from turbo.checks.declarations import load_application
from turbo.checks.finding import Finding
from turbo.checks.websocket import probe_websocket
from turbo.conf import get_settings, layer_config
from turbo.delivery.broadcast import broadcast
from turbo.delivery.frame import Frame
from turbo.delivery.groups import get_layer
from turbo.delivery.hub import get_hub
from turbo.delivery.names import stream_id
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.positions import Moment, parse

__all__ = ["probe_all"]

Probe: TypeAlias = Callable[[], Awaitable[Finding]]

#: Seconds that one attempt may take.
PATIENCE = 5.0
#: Seconds by which the clocks of two machines may differ.
TOLERANCE = 2.0

_REDIS = (
    "Check that Redis is running, and that this machine can reach the hosts in "
    "CHANNEL_LAYERS."
)


async def probe_all() -> AsyncIterator[Finding]:
    """Yield the result of each attempt, in the order in which a message travels."""
    yield await _tried(probe_layer, "The channel layer does not answer", _REDIS)
    yield await _tried(probe_log, "The replay log does not answer", _REDIS)
    yield await _tried(probe_clock, "The replay log's clock cannot be read", _REDIS)
    yield await _tried(
        probe_round_trip,
        "A broadcast did not reach its subscriber",
        "A broadcast goes through the publisher, the replay log and the channel layer; "
        "see their results above.",
    )
    with suppress(Exception):  # the attempt itself reports it
        load_application()  # with the project's URLs and consumers, may take long
    yield await _tried(
        probe_websocket,
        "The ASGI application does not serve the WebSocket",
        "Check ASGI_APPLICATION; turbo.asgi.get_application() returns one that does.",
    )


async def _tried(probe: Probe, failed: str, hint: str) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE):
            return await probe()
    except TimeoutError:
        return Finding.failure(f"{failed}: no answer within {PATIENCE:g} s.", hint)
    except Exception as error:
        return Finding.failure(f"{failed}: {type(error).__name__}: {error}", hint)


async def probe_layer() -> Finding:
    """Send a message through the channel layer to this process."""
    layer = get_layer()
    channel = await layer.new_channel("turbo")
    start = time.perf_counter()
    await layer.send(channel, {"type": "turbo.doctor"})
    await layer.receive(channel)
    took = _milliseconds(start)
    name = f"The channel layer {_layer_name()} answers in {took}"
    if type(layer).__name__ == "InMemoryChannelLayer":
        return Finding.warning(
            f"{name}, but works only within this process: changes in a shell, a worker "
            f"or another server do not reach any page.",
            "This is enough for development with one server. Otherwise use "
            "channels_redis.core.RedisChannelLayer.",
        )
    return Finding.ok(f"{name}.")


def _layer_name() -> str:
    backend = str(layer_config().get("BACKEND", "")).rpartition(".")[2]
    return f"{get_settings().channel_layer!r} ({backend})"


def _milliseconds(start: float) -> str:
    return f"{(time.perf_counter() - start) * 1_000:.1f} ms"


async def probe_log() -> Finding:
    """Append to the replay log and read it back."""
    log, sid = get_replay(), stream_id("turbo:doctor")
    name = type(log).__name__
    if not log.supports_replay:
        return Finding.warning(
            f"{name} stores no messages: a page that was away refreshes itself.",
            "Remove REPLAY_BACKEND from the TURBO setting to use a log.",
        )
    [before] = await log.read([(sid, "")])
    start = time.perf_counter()
    await log.append([Append(sid, "<!-- turbo_doctor -->")])
    [history] = await log.read([(sid, f"{before.epoch}:{before.tip}")])
    took = _milliseconds(start)
    if not (history.complete and history.entries):
        return Finding.failure(
            f"The replay log ({name}) has lost a message within {took}.",
            "Redis must not delete keys: check its maxmemory-policy, and whether "
            "another program uses that database.",
        )
    if not log.sees_failovers:
        return Finding.warning(
            f"The replay log ({name}) stores messages, but does not notice a restart "
            f"or a failover of Redis, and may then lose messages silently.",
            "Permit INFO to the user of Redis: ACL SETUSER … +info.",
        )
    return Finding.ok(f"The replay log ({name}) stores messages; this took {took}.")


async def probe_clock() -> Finding:
    """Compare the log's clock with that of this machine."""
    log = get_replay()
    if not log.supports_replay:
        return Finding.ok("Without a replay log there is no clock to compare.")
    await log.sync_clock()
    moment = parse(log.moment())
    if not isinstance(moment, Moment):
        return Finding.failure("The replay log returned no time.", _REDIS)
    skew = time.time() - moment.time / 1_000_000
    if log.supports_processes and abs(skew) > TOLERANCE:
        return Finding.warning(
            f"The clock of this machine differs by {abs(skew):.0f} s from that of "
            f"Redis; signed names expire by the former, and the log uses the latter.",
            "Synchronise the clocks (NTP).",
        )
    return Finding.ok("The clock of the replay log can be read.")


class _Listener:
    """A subscriber that waits for one message."""

    def __init__(self) -> None:
        self.received: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(self, frame: Frame) -> None:
        """Take a frame, and ignore pings."""
        if '"message"' in frame.text and not self.received.done():
            self.received.set_result(None)

    def apply_revocation(self, revocation: str | None) -> None:
        """Ignore revocations."""


async def probe_round_trip() -> Finding:
    """Broadcast a message, and receive it as a page does."""
    hub, listener, name = get_hub(), _Listener(), "turbo:doctor"
    hub.connect(listener)
    try:
        hub.settle(await hub.subscribe(listener, [(stream_id(name), "")]))
        start = time.perf_counter()
        broadcast(name, "<!-- turbo_doctor -->")
        await listener.received
        took = _milliseconds(start)
    finally:
        await hub.disconnect(listener)
    return Finding.ok(f"A broadcast reached a subscriber in {took}.")
