"""Statements compiled once and run on the driver's own cursor.

SQLAlchemy takes 0.2 ms to execute a statement, SQLite 0.005 ms. An iteration of research executes a
hundred, all of a few forms, so their texts are kept: any database that SQLAlchemy speaks, at the
driver's speed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement


class Prepared:
    """The statements of one database by what they are for; safe from several threads."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._errors: type[Exception] = dialect.loaded_dbapi.Error
        self._texts: dict[Hashable, tuple[str, tuple[str, ...] | None, dict[str, Any]]] = {}

    def rows(
        self,
        connection: Connection,
        purpose: Hashable,
        make: Callable[[], ClauseElement],
        values: dict[str, Any],
    ) -> Sequence[Any]:
        """Run a query and return all its rows; `make` builds it when `purpose` first comes up."""
        cursor = self._run(connection, purpose, make, values)
        try:
            return list(cursor.fetchall())
        except self._errors as error:
            raise DBAPIError(str(purpose), None, error) from error
        finally:
            cursor.close()

    def run(
        self,
        connection: Connection,
        purpose: Hashable,
        make: Callable[[], ClauseElement],
        values: dict[str, Any],
    ) -> None:
        """Run a statement that returns nothing."""
        self._run(connection, purpose, make, values).close()

    def _run(
        self,
        connection: Connection,
        purpose: Hashable,
        make: Callable[[], ClauseElement],
        values: dict[str, Any],
    ) -> Any:
        known = self._texts.get(purpose)
        if known is None:
            known = self._texts[purpose] = self._compile(make(), values)
        text, order, fixed = known
        given = fixed | values if fixed else values
        cursor = connection.connection.dbapi_connection.cursor()  # type: ignore[union-attr]
        try:
            cursor.execute(text, given if order is None else [given[name] for name in order])
        except self._errors as error:
            cursor.close()
            raise DBAPIError(text, None, error) from error
        return cursor

    def _compile(
        self, statement: ClauseElement, values: dict[str, Any]
    ) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
        """Text, order of the parameters where the driver takes them by place, and constants."""
        keys = list(values) if getattr(statement, "is_insert", False) else None
        compiled: Any = statement.compile(
            dialect=self._dialect, column_keys=keys, compile_kwargs={"render_postcompile": True}
        )
        order = tuple(compiled.positiontup) if compiled.positional else None
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return str(compiled), order, fixed
