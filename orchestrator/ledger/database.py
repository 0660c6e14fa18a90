"""The connections to the database, and what it says when it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.errors import InputError, LedgerError


class Database:
    """Transactions that read, and transactions that write; their errors are `LedgerError`."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._reads = self.engine.execution_options(reads_only=True)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and waits for no writer."""
        with self._mapped(), self._reads.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that happens as a whole, or not at all if the body raises."""
        with self._mapped(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            raise LedgerError(
                f"cannot use the ledger {shown}: {error.orig or error}", hint=_hint(error)
            ) from error


def _hint(error: sa.exc.DBAPIError) -> str:
    text = str(error.orig).lower()
    if "locked" in text:
        return "Another program has held it for long. Run the command again when that has ended."
    if "malformed" in text or "not a database" in text or "no such" in text:
        return "The file is damaged. Put back a copy of it; jobs at the services go on."
    return "Check the file, its rights, and the room on its disk."


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.engine.make_url(url)
        engine = sa.create_engine(parsed, pool_pre_ping=not url.startswith("sqlite"))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"ORCHESTRATOR_LEDGER is not a database this program can use: {error}",
            hint="Write sqlite:////absolute/path/ledger.db, or leave it unset.",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, parsed.database)
    return engine


def _prepare_sqlite(engine: sa.Engine, database: str | None) -> None:
    # Whoever writes SQLite's own form of an address says himself what is made (`mode=`).
    if database and database != ":memory:" and not database.startswith("file:"):
        folder = Path(database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot create the folder of the ledger, {folder}: {error.strerror}",
                hint="Set ORCHESTRATOR_HOME to a folder that you may write.",
            ) from error
        if not os.access(folder, os.W_OK):
            raise InputError(
                f"the folder of the ledger, {folder}, is not writable",
                hint="Set ORCHESTRATOR_HOME to a folder that you may write.",
            )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        # WAL lets readers read during a write; FULL makes a committed intent survive power loss.
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _immediate(connection: sa.Connection) -> None:
        # A transaction that reads and then writes must hold the write lock from its start, or
        # two passes could both read an unleased run.
        reads = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
