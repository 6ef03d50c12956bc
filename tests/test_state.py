"""
What the package remembers between two calls, all of it, and why.

Whoever adds to it meets this list first: state of a module outlives the test, the
request and the settings that it was made for, and any thread may be at it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.rooms import modules

#: What makes something that does not change, though it looks like a class.
VALUES = {
    "Event",
    "Home",
    "Library",
    "MappingProxyType",
    "ParamSpec",
    "Path",
    "Script",
    "ServerPerMessageDeflateFactory",
    "Signal",
    "TypeVar",
}

#: ``module:name``, and in a few words why it has to be there.
KEPT: dict[str, str] = {
    # What a process has one of. A fork and changed settings make another.
    "bindings.cache.background:_current": "work that waits for the store",
    "bindings.cache.outage:_outage": "whether the store answers this process",
    "observers.connection.groups:_outage": "whether consumers reach their channels",
    "bindings.store.selection:_selection": "the store of the process",
    "database.captured.relay:rounds": "the thread that looks for captured changes",
    "database.outbox.relay:rounds": "the thread that looks for ended processes",
    "database.outbox.tracking:_tracker": "what this process has in the outbox",
    "delivery.broadcast:_publisher": "the one publisher thread",
    "delivery.broadcast:_lock": "owns the making of the publisher",
    "delivery.broadcast:_calls": "the order in which a thread called",
    "inspector.history:history": "what the inspector shows of this process",
    "inspector.process_report:_begun": "since when the process counts",
    "inspector.process_report:_word": "what tells processes from each other",
    "metrics:_gauges": "who can be asked for a number",
    "metrics:_lock": "owns the counters",
    "metrics:_values": "the counters of the process",
    "replay.selection:_selection": "the replay log of the process",
    "runtime.beginnings:_callbacks": "what is called when the process begins",
    "runtime.beginnings:_failed": "what is called again when the process begins",
    "runtime.beginnings:_has_begun": "whether the process sends or serves",
    "runtime.endings:_callbacks": "what is called before the process ends",
    "runtime.endings:_begun": "when the process has begun to end",
    "runtime.forks:_callbacks": "who is told of a fork",
    "runtime.forks:_fence": "the threads that a fork waits for",
    "runtime.loops:_expected": "whether a server is likely to run",
    "runtime.loops:_loop": "the loop that serves",
    "runtime.tracing:tracer": "what follows messages, if telemetry is on",
    "telemetry.latency:latency": "the histogram of the process",
    "runtime.threads:_pool": "the threads for code of the application",
    # What an event loop has one of; it goes with its loop.
    "bindings.clients.catch_up:_shared": "work that clients of a loop share",
    "connections.page:stored_text": "questions asked at once",
    "connections.permissions:_forbidden_all": "questions asked at once",
    "connections.permissions:_look_up": "so many look-ups at once",
    "connections.permissions:_visit_database": "questions asked at once",
    "connections.permission_questions:_open": "tests that run, to be shared",
    "connections.connection:_made": "connections, to be stopped on a failure",
    "connections.presence:_keepers": "the leases of a loop, while used",
    "connections.whispers:_waiting": "whispers of a loop, for a moment",
    "connections.users:_reload": "users loaded at once",
    "delivery.hub:_hubs": "the hub of a loop",
    "delivery.throttle:_claim": "turns claimed at once",
    "delivery.topic:_read": "histories read at once",
    "observers.connection.worker:_workers": "the workers of a loop, while used",
    "pubsub.fan_out:_fan_outs": "the fan-out of a loop",
    "runtime.redis.aclients:_open": "connections, to be closed with their loop",
    "runtime.threads:_turns": "whose turn it is, for each owner",
    # What a request or a task carries along.
    "inspector.panel:_current": "the panel that a request is shown in",
    "observers.generics:_paginator": "the paginator of a list that is being made",
    "changes.querysets:_in_batch": "whether an update is a part of bulk_update()",
    "runtime.context:_done": "what is done once for each commit",
    "runtime.context:_immediate": "whether broadcasts wait for transactions",
    "observers.connection.after_reply:_current": "what follows the reply",
    "observers.permissions:_about_event": "whether a permission is for an event",
    "runtime.context:_cause": "the change that is told of",
    "runtime.context:_request_id": "the request that refreshes",
    "runtime.context:_since": "where a request began to read",
    "runtime.namespaces:_namespace": "the tenant that a task works for",
    "runtime.context:_suppressed": "turbo.suppress()",
    # What a thread carries along.
    "bindings.cache.following:_done": "what this thread has read lately",
    "changes.records:_reports": "what watchers of a thread have yet to get",
    # What is declared when modules are imported.
    "bindings.cache.following:_followers": "the watch of each binding",
    "bindings.cache.registry:_classes": "the bindings that are declared",
    "bindings.consumers:_classes": "consumers, for the checks",
    "changes.captured:_callback": "what makes triggers, if that is installed",
    "changes.captured:_captured": "the models that are captured",
    "changes.durability:_durable": "the models that are durable",
    "changes.durability:_is_installed": "whether there is an outbox",
    "changes.transaction:_writer": "what writes before each commit",
    "checks.finding:examiners": "what apps let the doctor look at",
    "database.captured.triggers:_made": "the triggers of captured tables",
    "changes.watchlist:watchlist": "what watches which model",
    "connections.transports:finders": "how servers are recognised",
    "delivery.recorders:_recorders": "who records broadcasts in tests",
    "observers.events.observed_models:_sources": "the models that are observed",
    "observers.events.observed_models:_lock": "owns the models that are observed",
    "pubsub.watching:_watched": "the models that are announced on channels",
    "runtime.discovery:_classes": "what other processes may not know",
    "streams.registry:_classes": "the streams that are declared",
    # What is remembered to save time; it may be forgotten at any moment.
    "bindings.cache.declaration:_schemas": "columns, for each class",
    "bindings.cache.reading:_copies": "the rows that were read last",
    "bindings.cache.reading:_lock": "owns the copies",
    "bindings.messages:change_frame": "a frame that all clients get",
    "bindings.messages:group_frame": "a frame that all clients get",
    "bindings.overrides:looks_at_context": "what a class overrides",
    "bindings.overrides:shows_columns": "what a class overrides",
    "bindings.viewsets:_describe": "what a serializer shows",
    "changes.captured:_known": "whether a model is captured",
    "database.outbox.writing:_missing": "where the table was missing",
    "conf:_readers": "whose caches a changed setting clears",
    "conf:read": "a section of the settings, read once",
    "conf:get_settings": "the settings, read once",
    "connections.revocation:parse": "a revocation, for all connections",
    "delivery.names:stream_id": "digests of names",
    "observers.consumers:_takes_extra": "signatures of reply()",
    "jinja2.extension:_own_engine": "an engine for projects without Django's",
    "observers.events.row_subscription:_handled": "the event that is handled",
    "observers.wire.requests:_parameters": "signatures of actions",
    "runtime.namespaces:_load": "the functions of the settings, imported once",
    "streams.emitter:_refresh": "the element of a refresh",
    "streams.model_streams:_keywords": "signatures of hooks",
    "server.daphne:_controlled": "a class derived from another",
    "server.uvicorn_transport:_say_unknown": "what was logged once",
    "connections.origin:_answer": "whether a handshake is of this site",
    "connections.page:_limits": "the limits of every page, made once",
    "streams.html:_opening": "opening tags, checked once",
    # What limits or is owed; none of it can be asked for again.
    "connections.budgets:_accounts": "what each user has spent",
    "connections.budgets:_many": "when accounts are looked through",
    "connections.budgets:_strangers": "what those without a name have spent",
    "connections.permission_questions:_begun": "tests that run in a thread",
    "connections.permission_questions:_costs": "how long tests of a class take",
    "connections.permission_questions:_lock": "owns whether a test has begun",
    "connections.missing_client:_pages": "pages that have not subscribed yet",
    "connections.sse:_stopping": "ends of event streams",
    "runtime.failures:failures": "what was logged in the last minute",
    "runtime.log_once:_last": "what was logged in the last minute",
    "runtime.redis.clients:_inherited": "the parent's sockets, never closed",
    "runtime.tasks:_detached": "work that goes on when its asker has left",
}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DISPLAYS = (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)
CACHES = {"batched", "cache", "limited", "lru_cache"}
MUTATORS = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "move_to_end",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}


def name_of(node: ast.AST) -> str:
    """Return ``Lock`` for ``threading.Lock()``, ``A`` for ``A[X](make)``."""
    if isinstance(node, ast.Call | ast.Subscript):
        return name_of(node.func if isinstance(node, ast.Call) else node.value)
    return getattr(node, "attr", getattr(node, "id", ""))


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a module or a class assigns, also under an ``if`` or a ``try``."""
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            if isinstance(node.target, ast.Name):
                yield node.target.id, node.value
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from assigned(node.body)


def rebound(tree: ast.Module) -> set[str]:
    """Return the names that a function gives another value."""
    return {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
        for name in node.names
    }


def changed(tree: ast.Module) -> set[str]:
    """Return the names of what is written to: ``x[…] = …``, ``x.append(…)``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found.add(name_of(node.value))
        elif isinstance(node, ast.Call) and name_of(node) in MUTATORS:
            found.add(name_of(getattr(node.func, "value", node.func)))
    return found


def is_cached(node: ast.AST) -> bool:
    return isinstance(node, FUNCTIONS) and any(
        name_of(decorator) in CACHES for decorator in node.decorator_list
    )


def is_state(name: str, value: ast.expr, written: set[str]) -> bool:
    """Return whether a value may change, or is an object that holds what may."""
    if name in {"__all__", "urlpatterns"}:
        return False
    if isinstance(value, DISPLAYS):
        return name in written or not name.strip("_").isupper()
    if not isinstance(value, ast.Call):
        return False
    made = name_of(value).strip("_")
    is_object = made[:1].isupper() and made not in VALUES
    return name in written or is_object or bool(CACHES & {made, name_of(value.func)})


def states(tree: ast.Module) -> Iterator[str]:
    """Yield the names of what a module and its classes remember."""
    written = changed(tree)
    yield from rebound(tree)
    for name, value in assigned(tree.body):
        if is_state(name, value, written):
            yield name
    for node in ast.walk(tree):
        if is_cached(node):
            yield node.name  # type: ignore[attr-defined]
        elif isinstance(node, ast.ClassDef):
            for name, value in assigned(node.body):
                if isinstance(value, DISPLAYS) and name in written:
                    yield f"{node.name}.{name}"


def found() -> set[str]:
    return {
        f"{module}:{name}"
        for module, path in modules().items()
        for name in states(ast.parse(path.read_text()))
    }


def test_what_is_remembered_is_listed() -> None:
    assert sorted(found() - KEPT.keys()) == []


def test_what_is_listed_is_remembered() -> None:
    assert sorted(KEPT.keys() - found()) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("LIMITS = {1: 2}\n__all__ = ['a']\nurlpatterns = []", []),
        ("LIMITS = {}\ndef add(): LIMITS[1] = 2", ["LIMITS"]),
        ("_known = {}", ["_known"]),
        ("_known: set[int] = set()\ndef add(n): _known.add(n)", ["_known"]),
        ("_one = None\ndef make():\n    global _one\n    _one = 1", ["_one"]),
        ("_lock = threading.Lock()", ["_lock"]),
        ("_hubs: PerLoop[Hub] = PerLoop(Hub)", ["_hubs"]),
        ("@lru_cache(maxsize=1)\ndef read(): ...", ["read"]),
        ("read = lru_cache(maxsize=1)(ask)", ["read"]),
        ("class A:\n    @cache\n    def read(self): ...", ["read"]),
        ("class A:\n    known = {}\n    def add(self): self.known[1] = 2", ["A.known"]),
        ("T = TypeVar('T')\nPATH = Path('x')\nWORD = re.compile('a')", []),
        ("def f():\n    known = {}\n    known[1] = 2", []),
    ],
)
def test_it_is_found(source: str, names: list[str]) -> None:
    assert list(states(ast.parse(source))) == names
