"""Opens the ledger, adds runs to it, reads facts from it, and leases runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError, LedgerError
from orchestrator.ledger.codec import (
    artifact_from_row,
    attempt_from_row,
    event_from_row,
    readable,
    run_from_row,
    snapshot_to_json,
)
from orchestrator.ledger.database import Database
from orchestrator.ledger.facts import Adopted, AttemptFacts, Facts, Metric, RunFacts, Target
from orchestrator.ledger.lease import Lease, is_dead, new_owner
from orchestrator.ledger.schema import migrate
from orchestrator.ledger.tables import artifacts, attempts, events, metrics, runs
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind

#: Long enough for the slowest single write between two renewals, short enough to wait for.
LEASE_S = 300.0
#: How many runs a hint names.
_MOST_NAMED = 5


def _turn(attempt: AttemptFacts) -> tuple[int, int]:
    """When it was an attempt's turn: by kind and number, for clocks may go back."""
    return list(AttemptKind).index(attempt.kind), attempt.ordinal


def _insert_adopted(
    connection: sa.Connection, run_id: str, adopted: Adopted, now: datetime
) -> None:
    """The training of a run that was done elsewhere."""
    query = sa.select(attempts.c.run_id, attempts.c.handle).where(attempts.c.handle.is_not(None))
    for other in connection.execute(query):
        same = other.handle == adopted.handle.to_json() and other.run_id != run_id
        if same and other.run_id not in adopted.looked_at:
            raise InputError(
                f"that is run {other.run_id} already",
                hint=f"See: orchestrator show {other.run_id}",
            )
    attempt_id = f"{run_id}-{AttemptKind.TUNE}-1"
    connection.execute(
        sa.insert(attempts).values(
            id=attempt_id,
            run_id=run_id,
            kind=str(AttemptKind.TUNE),
            ordinal=1,
            token=f"adopted-{uuid.uuid4().hex}",
            intent_at=now,
            deadline_at=now,
            launched_at=now,
            handle=adopted.handle.to_json(),
            snapshot=snapshot_to_json(adopted.snapshot),
        )
    )
    connection.execute(
        sa.insert(events).values(
            run_id=run_id,
            attempt_id=attempt_id,
            at=now,
            kind="adopted",
            data=dict(adopted.data),
        )
    )


class Ledger:
    """The database of runs. Opening it creates or upgrades its tables."""

    def __init__(self, url: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._database = Database(url)
        migrate(self._database)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def find_run(self, plan_digest: str) -> RunFacts | None:
        """The newest run of a plan."""
        query = (
            sa.select(runs)
            .where(runs.c.plan_digest == plan_digest)
            .order_by(runs.c.ordinal.desc())
            .limit(1)
        )
        with self._database.reading() as connection, readable(f"of plan {plan_digest}"):
            row = connection.execute(query).first()
            return run_from_row(row) if row else None

    def add_run(
        self,
        plan: Plan,
        target: Target,
        data_folder: Path,
        *,
        again: bool,
        adopted: Adopted | None = None,
    ) -> RunFacts:
        """Add a run of the plan, or give the existing one unless `again`.

        With `adopted` it is there with its training done: no pass can see it without, and train.
        Two processes that add the same plan at once get the same run: the database decides.
        """
        for _ in range(10):
            existing = self.find_run(plan.digest)
            if existing is not None and not again:
                return existing
            ordinal = existing.ordinal + 1 if existing else 1
            now = self._clock.now()
            run_id = f"{now:%Y%m%d}-{plan.digest[:8]}-{uuid.uuid4().hex[:6]}"
            try:
                with self._database.writing() as connection:
                    connection.execute(
                        sa.insert(runs).values(
                            id=run_id,
                            name=plan.name,
                            plan_digest=plan.digest,
                            ordinal=ordinal,
                            plan=plan.to_json(),
                            target=target.to_json(),
                            data_folder=str(data_folder),
                            created_at=now,
                            version=0,
                        )
                    )
                    if adopted is not None:
                        _insert_adopted(connection, run_id, adopted, now)
            except LedgerError as error:
                if isinstance(error.__cause__, sa.exc.IntegrityError):
                    continue  # another process added this ordinal first
                raise
            return self.facts(run_id).run
        raise LedgerError("many processes add runs of this plan at once", hint="Try again.")

    def resolve_id(self, prefix: str) -> str:
        """The run that `prefix` names: its id, the beginning or the end of it, or its spec name."""
        if not prefix:
            # Of a script whose variable is not set; it would name the only run there is.
            raise InputError("the name of a run is empty", hint="See: orchestrator runs")
        query = sa.select(runs.c.id, runs.c.name).order_by(runs.c.created_at)
        with self._database.reading() as connection:
            found = connection.execute(query).tuples().all()
        every = [run_id for run_id, _ in found]
        ids: list[str] = [run_id for run_id in every if run_id == prefix]
        ids = ids or [run_id for run_id in every if run_id.startswith(prefix)]
        ids = ids or [run_id for run_id in every if run_id.endswith(f"-{prefix}")]
        ids = ids or [run_id for run_id, name in found if name == prefix][-1:]
        if not ids:
            hint = f"Runs: {', '.join(every[-_MOST_NAMED:])}" if every else "There are none."
            raise InputError(f"there is no run {prefix}", hint=hint)
        if len(ids) > 1:
            more = " and others" if len(ids) > _MOST_NAMED else ""
            raise InputError(
                f"{prefix} names {len(ids)} runs",
                hint=f"One of: {', '.join(ids[-_MOST_NAMED:])}{more}",
            )
        return ids[0]

    def run_ids(self, *, unfinished_only: bool = False) -> list[str]:
        """The runs, oldest first."""
        query = sa.select(runs.c.id).order_by(runs.c.created_at, runs.c.id)
        if unfinished_only:
            query = query.where(runs.c.finished_at.is_(None))
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def facts(self, run_id: str) -> Facts:
        """Everything that is known of a run; raises `DamagedRun` if that cannot be understood."""
        with self._database.reading() as connection, readable(run_id):
            run = connection.execute(sa.select(runs).where(runs.c.id == run_id)).first()
            if run is None:
                raise LedgerError(f"the ledger has no run {run_id} any more")
            of_run = {
                table.name: connection.execute(
                    sa.select(table).where(table.c.run_id == run_id).order_by(table.c[order])
                ).all()
                for table, order in ((attempts, "ordinal"), (events, "id"), (artifacts, "id"))
            }
            return Facts(
                run=run_from_row(run),
                attempts=tuple(sorted(map(attempt_from_row, of_run["attempts"]), key=_turn)),
                events=tuple(event_from_row(row) for row in of_run["events"]),
                artifacts=tuple(artifact_from_row(row) for row in of_run["artifacts"]),
            )

    def metrics(self, run_id: str) -> list[Metric]:
        """The time series of a run, by name and step.

        An attempt that went on from a checkpoint of an earlier one takes its place from there.
        """
        query = (
            sa.select(metrics, attempts.c.ordinal)
            .join(attempts, attempts.c.id == metrics.c.attempt_id)
            .where(metrics.c.run_id == run_id)
            .order_by(attempts.c.ordinal.desc(), metrics.c.name, metrics.c.step)
        )
        with self._database.reading() as connection, readable(run_id):
            rows = connection.execute(query).all()
            begins: dict[int, int] = {}
            for row in rows:
                begins[row.ordinal] = min(row.step, begins.get(row.ordinal, row.step))
            kept = [
                row
                for row in rows
                if all(row.step < step for later, step in begins.items() if later > row.ordinal)
            ]
            kept.sort(key=lambda row: (row.name, row.step))
            return [Metric(row.name, row.step, row.value, row.epoch) for row in kept]

    @contextmanager
    def lease(self, run_id: str, *, duration_s: float = LEASE_S) -> Iterator[Lease | None]:
        """The right to move a run forward; None while another living pass holds it.

        The body says by `lease.finished = True` that the run needs no further pass.
        """
        held = self._acquire(run_id, duration_s)
        try:
            yield held
        finally:
            if held is not None:
                held.release(finished=held.finished)

    def _acquire(self, run_id: str, duration_s: float) -> Lease | None:
        now = self._clock.now()
        owner = new_owner()
        query = sa.select(runs.c.version, runs.c.lease_owner, runs.c.lease_expires_at)
        with self._database.writing() as connection, readable(run_id):
            row = connection.execute(query.where(runs.c.id == run_id)).first()
            if row is None:
                raise LedgerError(f"the ledger has no run {run_id} any more")
            taken = row.lease_owner is not None and row.lease_expires_at > now
            if taken and not is_dead(row.lease_owner):
                return None
            changed = connection.execute(
                sa.update(runs)
                .where(runs.c.id == run_id, runs.c.version == row.version)
                .values(
                    version=row.version + 1,
                    lease_owner=owner,
                    lease_expires_at=now + timedelta(seconds=duration_s),
                )
            )
        if changed.rowcount != 1:
            return None
        return Lease(
            self._database,
            self._clock,
            run_id=run_id,
            owner=owner,
            version=row.version + 1,
            duration_s=duration_s,
        )
