"""Connections to a ledger's database: SQLite in a file, or any other by URL.

Everything that is SQLite's own lives here, and the translation of its faults into errors that say
what to do. SQLite runs with a write-ahead log and `synchronous=NORMAL`: what was committed
survives the death of the process at any instant; loss of power may lose the last commits, never
damage those before. Readers do not block the writer, nor it them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from novum.errors import DiskFull, LedgerCorrupt, OperatorError, RecordError, UsageError

BUSY_S = 30.0
"""How long a writer waits for another process's transaction (each lasts about a millisecond)."""


def is_url(target: Path | str) -> bool:
    """Whether a target names a database server rather than a file."""
    return isinstance(target, str) and "://" in target


def connect(target: Path | str, *, read_only: bool) -> Engine:
    """An engine on a target that exists or, for a writer, may be made."""
    if is_url(target):
        options = {"postgresql_readonly": True} if read_only else {}
        return create_engine(make_url(str(target)), execution_options=options)
    path = Path(target)
    uri = f"file:{quote(str(path.absolute()))}?mode=" + ("ro" if read_only else "rwc")
    if read_only and not os.access(path.parent, os.W_OK) and not _has_log(path):
        uri += "&immutable=1"  # a folder on read-only media cannot hold the log's index
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            uri, uri=True, timeout=BUSY_S, check_same_thread=False, isolation_level=None
        ),
        pool_size=4,
        max_overflow=28,
        poolclass=QueuePool,
    )
    event.listen(engine, "connect", _tune_reader if read_only else _tune_writer)
    event.listen(engine, "begin", _begin)
    return engine


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _tune_writer(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA journal_size_limit=16777216")
    connection.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: each one waits for the disk


def _tune_reader(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only=ON")


@contextmanager
def opening(target: Path | str, *, read_only: bool) -> Iterator[Engine]:
    """An engine on a target; where it turns out not to serve, its connections are closed."""
    engine = connect(target, read_only=read_only)
    try:
        with translated(target):
            yield engine
    except BaseException:
        engine.dispose()
        raise


class transaction:
    """One transaction of the writer, begun and ended on the driver's own connection.

    SQLAlchemy takes longer for it than SQLite for all that happens inside. What SQLAlchemy itself
    executes in between runs within the transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._raw: Any = connection.connection.dbapi_connection
        self._errors: type[Exception] = connection.dialect.loaded_dbapi.Error
        self._is_sqlite = connection.dialect.name == "sqlite"

    def __enter__(self) -> None:
        if not self._is_sqlite:
            return  # begun by the first statement
        try:
            # At once: a transaction that first reads and then writes would fail, not wait, if
            # another process wrote in between.
            self._raw.execute("BEGIN IMMEDIATE")
        except self._errors as error:
            raise DBAPIError("BEGIN IMMEDIATE", None, error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._raw.commit()
            else:
                self._raw.rollback()
        except self._errors as fault:
            raise DBAPIError("transaction", None, fault) from fault
        if isinstance(error, self._errors):
            raise DBAPIError("transaction", None, error) from error


def settle(engine: Engine) -> None:
    """Move what SQLite's log holds into the file, so that the file alone is the ledger."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(plain=True) as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _begin(connection: Connection) -> None:
    # A writer takes the write lock at once: a transaction that first reads and then writes would
    # fail, not wait, if another process wrote in between.
    options = connection.get_execution_options()
    if options.get("plain", False):
        return
    writes = options.get("writes", False)
    text = "BEGIN IMMEDIATE" if writes else "BEGIN"
    try:
        connection.connection.cursor().execute(text)
    except sqlite3.Error as error:
        raise DBAPIError(text, None, error) from error


class translated:
    """Turn the database's faults into Novum's errors."""

    def __init__(self, target: Path | str) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError):
            raise _named(error.orig, self._target) from error
        if isinstance(error, SQLAlchemyError):
            raise OperatorError(f"ledger {shown(self._target)}: {error}") from error


def shown(target: Path | str) -> str:
    """A target as a message may show it: without a password."""
    return make_url(str(target)).render_as_string() if is_url(target) else str(target)


def _named(fault: BaseException | None, target: Path | str) -> Exception:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    where = shown(target)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(target)):
        return DiskFull(
            f"no room is left to record what happened in {where}.\n"
            "Nothing recorded so far is lost. Free some space and resume the run."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerCorrupt(
            f"{where} is damaged ({fault}).\nRestore it from a copy; the archive beside it still "
            "holds every candidate."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OperatorError(f"another process has kept {where} locked for {BUSY_S:.0f} s.")
    if code == sqlite3.SQLITE_READONLY:
        return UsageError(f"{where} is open for reading only.")
    if code == sqlite3.SQLITE_CANTOPEN:
        return RecordError(f"{where} cannot be opened: {fault}.")
    return OperatorError(f"ledger {where}: {fault}")


def _is_full(target: Path | str) -> bool:
    try:
        room = os.statvfs(Path(target).parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < 1 << 20
