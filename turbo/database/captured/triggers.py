"""
The triggers of captured tables, which django-pgtrigger makes and keeps.

Each statement writes one row into the table of
:class:`~turbo.database.models.CapturedStatement`, in the transaction of the statement
and with the rights of its user. A statement that changes no row writes nothing. If the
table is not there, or the user may not write to it, there is a warning, and the
statement goes on. So it does if the rows are too large for JSON; they are not named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pgtrigger
from django.db.models import ForeignKey, Model

from turbo.changes.captured import tables_of
from turbo.changes.rows import SECRET
from turbo.database.captured.signals import LIMIT
from turbo.database.models import CapturedStatement
from turbo.runtime.namespaces import SEPARATOR, is_used

__all__ = ["Registration", "StatementTrigger", "register", "registered", "unregister"]

TABLE = CapturedStatement._meta.db_table
#: Names that no column has.
COUNT, CONTENT, ROW = "_turbo_count", "_turbo_content", "_turbo_row"


class StatementTrigger(pgtrigger.Trigger):
    """Note a statement with the rows that it has changed."""

    def get_func(self, model: Any) -> str:
        """Return the body of the function."""
        meta = model._meta.concrete_model._meta
        return f"""
            {self._count()}
            IF to_regclass('{TABLE}') IS NULL
                OR NOT has_table_privilege('{TABLE}', 'INSERT') THEN
                RAISE WARNING 'turbo cannot note a change of %: there is no table '
                    '{TABLE}, or no right to write to it', TG_TABLE_NAME;
                RETURN NULL;
            END IF;
            BEGIN
                {CONTENT} := {self._content(meta)};
            EXCEPTION WHEN OTHERS THEN  -- as if there were too many
                {CONTENT} := NULL;
            END;
            INSERT INTO {TABLE} (xid, model, operation, content, count)
            SELECT pg_current_xact_id()::text, {_model(meta)}, lower(TG_OP),
                {CONTENT}, {COUNT};
            RETURN NULL;
        """

    def get_declare(self, model: Any) -> list[tuple[str, str]]:
        """Return the variables: the number of rows, and what they have."""
        return [(COUNT, "bigint := 1"), (CONTENT, "jsonb")]

    def _count(self) -> str:
        if self.referencing is None:
            return ""
        table = "turbo_new" if self.operation == pgtrigger.Insert else "turbo_old"
        return f"""
            SELECT count(*) INTO {COUNT} FROM {table};
            IF {COUNT} = 0 THEN
                RETURN NULL;
            END IF;
        """

    def _content(self, meta: Any) -> str:
        if self.operation == pgtrigger.Truncate:
            return "NULL"
        keys = list(_key_fields(meta))
        condition, table, fields = f"{COUNT} <= {LIMIT}", "turbo_old", keys
        if self.operation == pgtrigger.Insert:
            table = "turbo_new"
        elif self.operation == pgtrigger.Update:
            # Nobody knows which row got which of the new keys.
            names = ", ".join(_quoted(field) for field in keys)
            new, old = (f"SELECT {names} FROM turbo_{age}" for age in ("new", "old"))
            condition += f" AND NOT EXISTS ({new} EXCEPT {old})"
            fields = [f for f in _own_fields(meta) if _is_key(f) or f in keys]
        else:
            fields = [f for f in _own_fields(meta) if f.name != SECRET or f in keys]
        columns = ", ".join(map(_as_json, fields))
        rows = f"(SELECT {columns} FROM {table}) {ROW}"
        content = f"SELECT jsonb_agg(to_jsonb({ROW})) FROM {rows}"
        return f"CASE WHEN {condition} THEN ({content}) END"


def _model(meta: Any) -> str:
    """Return the label of a model; its namespace is the schema of the table."""
    if not is_used():
        return f"'{meta.label}'"
    return f"TG_TABLE_SCHEMA || '{SEPARATOR}{meta.label}'"


def _own_fields(meta: Any) -> list[Any]:
    return list(meta.local_concrete_fields)


def _key_fields(meta: Any) -> Iterator[Any]:
    own = _own_fields(meta)
    yield from (field for field in meta.pk_fields if field in own)


def _is_key(field: Any) -> bool:
    return isinstance(field, ForeignKey)


def _quoted(field: Any) -> str:
    return f'"{field.column}"'


def _as_json(field: Any) -> str:
    """Return a column in a form that JSON can hold and ``to_python()`` understands."""
    name = _quoted(field)
    while field.remote_field is not None:
        field = field.target_field
    if getattr(field, "generated", False):
        field = field.output_field
    match field.get_internal_type():
        case "DecimalField":  # Python reads a number of JSON as a float
            return f"{name}::text AS {name}"
        case "BinaryField":
            return f"translate(encode({name}, 'base64'), E'\\n', '') AS {name}"
        case "DurationField":
            return f"extract(epoch FROM {name})::text AS {name}"
        case _:
            return name


# --- Registration


@dataclass(frozen=True, slots=True)
class Registration:
    """The triggers of one table, and the class whose app has their migration."""

    cls: type[Model]
    triggers: Sequence[StatementTrigger]


_made: dict[type[Model], Registration] = {}


def register(model: type[Model]) -> None:
    """Let the tables of a captured model have triggers; a proxy gets them itself."""
    for table in tables_of(model):
        is_proxied = table is model._meta.concrete_model
        cls = model if is_proxied else table
        known = _made.get(table)
        if known is not None:
            if cls is table or known.cls is not table:
                continue
            unregister(table)
        _made[table] = Registration(cls, _triggers())
        for trigger in _made[table].triggers:
            trigger.register(cls)


def unregister(table: type[Model]) -> None:
    """Forget the triggers of a table; those in a database stay."""
    made = _made.pop(table)
    for trigger in made.triggers:
        trigger.unregister(made.cls)


def registered() -> list[Registration]:
    """Return the triggers of all captured tables."""
    return list(_made.values())


def _triggers() -> list[StatementTrigger]:
    old, new = "turbo_old", "turbo_new"
    kinds: list[tuple[Any, Any]] = [
        (pgtrigger.Insert, pgtrigger.Referencing(new=new)),
        (pgtrigger.Update, pgtrigger.Referencing(old=old, new=new)),
        (pgtrigger.Delete, pgtrigger.Referencing(old=old)),
        (pgtrigger.Truncate, None),
    ]
    return [
        StatementTrigger(
            name=f"turbo_{str(operation).lower()}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=referencing,
        )
        for operation, referencing in kinds
    ]
