"""Brings a database to the present schema. Alembic is imported only when it is behind."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from orchestrator.errors import LedgerError
from orchestrator.ledger.database import Database

#: The newest migration. A test compares it with the folder of migrations.
HEAD = "0001"


def current_revision(database: Database) -> str | None:
    """The migration at which the database stands; None for an empty one."""
    with database.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(
            sa.select(sa.column("version_num")).select_from(sa.table("alembic_version"))
        ).scalar()


def migrate(database: Database) -> None:
    """Create or upgrade the tables; does nothing when they are up to date."""
    revision = current_revision(database)
    if revision == HEAD:
        return
    known = {path.name[:4] for path in _versions().glob("[0-9]*.py")}
    if revision is not None and revision not in known:
        raise LedgerError(
            f"the ledger is at schema {revision}, which this version does not know",
            hint="It was written by a newer version of this program: upgrade.",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_versions().parent).replace("%", "%%"))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _versions() -> Path:
    return Path(__file__).parent / "migrations" / "versions"
