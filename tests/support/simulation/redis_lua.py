"""The Lua of a simulated Redis server: its version, ``redis.call`` and ``cjson``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from lupa import lua51

from tests.support.simulation.redis_data import Refused, Status

__all__ = ["run"]

Call = Callable[[Sequence[bytes]], Any]

# Errors pass through Lua as tables, as they do in Redis.
_PRELUDE = b"""
local ask = ...
redis = {}
function redis.pcall(...)
    return ask(...)
end
function redis.call(...)
    local reply = ask(...)
    if type(reply) == 'table' and reply.err then
        error(reply.err, 0)
    end
    return reply
end
function redis.status_reply(text) return {ok = text} end
function redis.error_reply(text) return {err = text} end
cjson = {null = newproxy()}
"""

_current: list[Call] = []


@cache
def _lua() -> Any:
    lua = lua51.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    lua.execute(_PRELUDE, _ask)
    lua.globals()[b"redis"][b"sha1hex"] = _sha1hex
    lua.globals()[b"cjson"][b"decode"] = lambda text: _from_json(json.loads(text))
    lua.globals()[b"cjson"][b"encode"] = lambda it: json.dumps(_to_json(it)).encode()
    return lua


@cache
def _compiled(source: bytes) -> Any:
    return _lua().execute(b"return function(KEYS, ARGV) " + source + b"\nend")


def run(source: bytes, keys: Sequence[bytes], args: Sequence[bytes], call: Call) -> Any:
    """Run a script; ``call`` runs its commands. Return the reply."""
    lua = _lua()
    _current.append(call)
    try:
        result = _compiled(source)(lua.table_from(keys), lua.table_from(args))
    except lua51.LuaError as error:
        text = str(error).partition("\n")[0]  # without the traceback
        raise Refused(text if text.split(" ")[0].isupper() else f"ERR {text}") from None
    finally:
        _current.pop()
    return _to_reply(result)


def _ask(*command: Any) -> Any:
    try:
        reply = _current[-1]([_argument(part) for part in command])
    except Refused as error:
        return _lua().table_from({b"err": str(error).encode()})
    return _to_lua(reply)


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float) and not value.is_integer():
        return b"%.17g" % value
    return b"%d" % value


def _to_lua(reply: Any) -> Any:
    if reply is None:
        return False
    if isinstance(reply, Status):
        return _lua().table_from({b"ok": bytes(reply)})
    if isinstance(reply, list):
        return _lua().table_from([_to_lua(item) for item in reply])
    return reply


def _to_reply(value: Any) -> Any:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, float):
        return int(value)
    if lua51.lua_type(value) == "table":
        if value[b"err"] is not None:
            raise Refused(value[b"err"].decode())
        if value[b"ok"] is not None:
            return Status(value[b"ok"])
        items, place = [], 1
        while value[place] is not None:
            items.append(_to_reply(value[place]))
            place += 1
        return items
    return value


def _from_json(value: Any) -> Any:
    if value is None:
        return _lua().globals()[b"cjson"][b"null"]
    if isinstance(value, list):
        return _lua().table_from([_from_json(item) for item in value])
    return value.encode() if isinstance(value, str) else value


def _to_json(value: Any) -> Any:
    if lua51.lua_type(value) == "table":
        # A table with nothing in it might be either.
        return [_to_json(item) for item in value.values()] or {}
    if isinstance(value, bytes):
        return value.decode()
    return int(value) if isinstance(value, float) else value


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
