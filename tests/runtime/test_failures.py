"""An outage is told apart from a refusal, which would come again."""

from __future__ import annotations

import pytest
from django.db import DataError, InterfaceError, InternalError, OperationalError
from psycopg.errors import InvalidTextRepresentation, ReadOnlySqlTransaction
from redis import exceptions as redis

from turbo.runtime.failures import is_outage


def caused(error: Exception, cause: Exception) -> Exception:
    """Return an error of Django with the one of the driver."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        OperationalError("the server has gone away"),
        InterfaceError("connection already closed"),
        caused(InternalError("read-only"), ReadOnlySqlTransaction()),
        redis.ConnectionError(),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.ClusterDownError("CLUSTERDOWN The cluster is down"),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis.ResponseError("Error running script: 4: -OOM command not allowed"),
    ],
    ids=str,
)
def test_what_cannot_be_reached_or_writes_nothing_is_an_outage(
    error: Exception,
) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no text"),
        DataError("value too long"),
        caused(InternalError("no text"), InvalidTextRepresentation()),
        redis.DataError("Invalid input"),
        redis.NoPermissionError("this user has no permissions to run the command"),
        redis.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
        redis.ResponseError("WRONGTYPE Operation against a key: BUSY"),
    ],
    ids=str,
)
def test_what_is_refused_is_no_outage(error: Exception) -> None:
    assert not is_outage(error)
