"""Between rows of the ledger's tables and facts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.errors import RefusalKind
from orchestrator.ledger.facts import (
    Artifact,
    AttemptFacts,
    DamagedRun,
    Event,
    Refusal,
    RunFacts,
    Target,
)
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot


@contextmanager
def readable(run_id: str) -> Iterator[None]:
    """Turn what reading a row raises that nothing here could have written into `DamagedRun`."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        first = str(error).partition("\n")[0]
        raise DamagedRun(
            f"the ledger's record of run {run_id} is damaged ({type(error).__name__}: {first})",
            hint="Put back a copy of the ledger. Nothing is done for this run until then; the "
            "others go on.",
        ) from error


def run_from_row(row: sa.Row[Any]) -> RunFacts:
    """A row of `runs` as facts."""
    return RunFacts(
        id=row.id,
        plan=Plan.from_json(row.plan),
        ordinal=row.ordinal,
        target=Target(**row.target),
        data_folder=row.data_folder,
        created_at=row.created_at,
    )


def attempt_from_row(row: sa.Row[Any]) -> AttemptFacts:
    """A row of `attempts` as facts."""
    return AttemptFacts(
        id=row.id,
        kind=AttemptKind(row.kind),
        ordinal=row.ordinal,
        token=row.token,
        intent_at=row.intent_at,
        deadline_at=row.deadline_at,
        handle=Handle.from_json(row.handle) if row.handle else None,
        launched_at=row.launched_at,
        refusal=_refusal(row.refusal) if row.refusal else None,
        uncertain_at=row.uncertain_at,
        not_launched_by=row.not_launched_by,
        snapshot=_snapshot(row.snapshot) if row.snapshot else None,
    )


def event_from_row(row: sa.Row[Any]) -> Event:
    """A row of `events` as facts."""
    if not isinstance(row.data, dict):
        raise TypeError(f"the data of event {row.id} is no object")
    return Event(row.kind, row.at, row.data, row.attempt_id)


def artifact_from_row(row: sa.Row[Any]) -> Artifact:
    """A row of `artifacts` as facts."""
    return Artifact(row.kind, row.name, row.uri, row.size_bytes, row.sha256)


def refusal_to_json(refusal: Refusal) -> dict[str, Any]:
    """A refusal as the ledger stores it."""
    return {
        "kind": str(refusal.kind),
        "message": refusal.message,
        "at": refusal.at.isoformat(),
        "retry_after_s": refusal.retry_after_s,
    }


def _refusal(value: dict[str, Any]) -> Refusal:
    return Refusal(
        kind=RefusalKind(value["kind"]),
        message=value["message"],
        at=datetime.fromisoformat(value["at"]),
        retry_after_s=value["retry_after_s"],
    )


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as the ledger stores it."""

    def instant(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    return {
        "state": str(snapshot.state),
        "raw_state": snapshot.raw_state,
        "created_at": instant(snapshot.created_at),
        "started_at": instant(snapshot.started_at),
        "ended_at": instant(snapshot.ended_at),
        "error": snapshot.error,
        "stats": dict(snapshot.stats),
    }


def _snapshot(value: dict[str, Any]) -> Snapshot:
    def instant(name: str) -> datetime | None:
        return datetime.fromisoformat(value[name]) if value[name] else None

    return Snapshot(
        state=AttemptState(value["state"]),
        raw_state=value["raw_state"],
        created_at=instant("created_at"),
        started_at=instant("started_at"),
        ended_at=instant("ended_at"),
        error=value["error"],
        stats=value["stats"],
    )
