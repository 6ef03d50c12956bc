"""The clock of a database, what identifies its data, and transactions that write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, CharField, Func, QuerySet
from django.db.models.expressions import RawSQL

from turbo.database.models import LogStream, LogWord

__all__ = [
    "Data",
    "Microseconds",
    "Server",
    "ask_server",
    "delete",
    "snapshot",
    "whole_data",
    "writing",
]

#: The statement with which a transaction begins, if the database has isolation levels.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
#: Changes with another cluster, a replica that was promoted, and a restored table.
POSTGRES_DATA = (
    "(SELECT system_identifier::text FROM pg_control_system()) || ' ' || "
    "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' ' || "
    "pg_relation_filenode('{table}'::regclass)::text"
)
#: Where a PostgreSQL does not say this, the word alone tells that data were lost.
UNKNOWN_DATA = "''"
#: A lack of privilege, of the function, and of the feature.
NOT_PERMITTED = {"42501", "42883", "0A000"}
#: On Linux, another text after each start of the machine.
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Microseconds(Func):
    """The time by the database's clock when a statement is executed."""

    output_field = BigIntegerField()
    #: The standard has no function for this; SQLite's own is exact to milliseconds.
    template = "CAST((JULIANDAY('now') - 2440587.5) * 86400000000 AS INTEGER)"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return the SQL for PostgreSQL."""
        template = "(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000000)::bigint"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return the SQL for MySQL and MariaDB."""
        template = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
        return self.as_sql(compiler, connection, template=template, **context)


class Data(RawSQL):
    """What the server says about its data; :func:`whole_data` is the rest."""

    def __init__(self, alias: str) -> None:
        super().__init__(_data_sql(alias), (), CharField())


class Server(NamedTuple):
    """The word in the tables, what identifies the data, and the time."""

    word: str
    data: str
    now: int


def ask_server(alias: str, new: str, *, renew: bool = False) -> Server:
    """
    Return what the server of the log's tables says, with one query.

    ``new`` is a word, if there is none in the tables yet, or to ``renew`` it.
    """
    words = LogWord.objects.using(alias)
    if renew:
        words.update_or_create(pk=1, defaults={"word": new})
    said = words.filter(pk=1).annotate(data=Data(alias), now=Microseconds())
    row = said.values_list("word", "data", "now").first()
    if row is None:
        words.bulk_create([LogWord(pk=1, word=new)], ignore_conflicts=True)
        row = said.values_list("word", "data", "now").get()
    return Server(row[0], whole_data(alias, row[1]), row[2])


def whole_data(alias: str, said: str) -> str:
    """Return what identifies the data, of which the server ``said`` a part."""
    return f"{said}{_own_data(alias)}"


def delete(rows: QuerySet[Any]) -> None:
    """Delete rows with one statement, of which no receiver of signals hears."""
    rows._raw_delete(rows.db)


@contextmanager
def writing(alias: str) -> Iterator[None]:
    """
    Begin a transaction that writes.

    Where rows cannot be locked, one write locks the others out from the beginning: a
    transaction that first reads may find that it cannot write any more.
    """
    with transaction.atomic(using=alias):
        if not connections[alias].features.has_select_for_update:
            LogWord.objects.using(alias).filter(pk=0).update(word="")
        yield


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Begin a transaction that sees the tables as they are at its first query."""
    connection = connections[alias]
    with transaction.atomic(using=alias):
        if connection.vendor in ("postgresql", "mysql"):
            with connection.cursor() as cursor:
                cursor.execute(SNAPSHOT)
        yield


def _data_sql(alias: str) -> str:
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return UNKNOWN_DATA
    known: str | None = vars(connection).get("_turbo_data_sql")
    if known is None:
        known = vars(connection)["_turbo_data_sql"] = _permitted(connection)
    return known


def _permitted(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL that tells whose the data are, as far as the server permits it."""
    sql = POSTGRES_DATA.format(table=LogStream._meta.db_table)
    try:
        with transaction.atomic(connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SELECT {sql}")
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") not in NOT_PERMITTED:
            raise
        return UNKNOWN_DATA
    return sql


def _own_data(alias: str) -> str:
    """Return what identifies the data of a file, which may be lost with its machine."""
    connection = connections[alias]
    if connection.vendor != "sqlite":
        return ""
    try:
        boot = BOOT.read_text().strip()
        return f"{boot} {Path(connection.settings_dict['NAME']).stat().st_ino}"
    except OSError:
        return ""
