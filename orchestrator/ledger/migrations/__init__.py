"""Migrations of the ledger, in order, run by Alembic."""
