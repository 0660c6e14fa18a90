"""A lease on a run: only its holder writes, and every write renews it.

Updates are guarded by the run's version as well, so a holder that lost its lease (a laptop that
slept) cannot overwrite what another pass did meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.clock import Clock
from orchestrator.errors import LedgerError
from orchestrator.ledger.codec import refusal_to_json, snapshot_to_json
from orchestrator.ledger.database import Database
from orchestrator.ledger.facts import Artifact, Metric, Refusal
from orchestrator.ledger.tables import artifacts, attempts, events, metrics, runs
from orchestrator.services.base import AttemptKind, Handle, Snapshot


class Lease:
    """The right to move one run forward, until `expires` on a clock that counts suspension."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        run_id: str,
        owner: str,
        version: int,
        duration_s: float,
    ) -> None:
        self.run_id = run_id
        self.finished = False
        self._database = database
        self._clock = clock
        self._owner = owner
        self._version = version
        self._duration_s = duration_s
        self._renewed_s = clock.elapsed_s()

    def is_held_for(self, seconds: float) -> bool:
        """Whether the lease lasts so long from now, and the ledger still says that it is ours."""
        if self._clock.elapsed_s() + seconds >= self._renewed_s + self._duration_s:
            return False
        query = sa.select(runs.c.lease_owner, runs.c.version).where(runs.c.id == self.run_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return bool(row.lease_owner == self._owner and row.version == self._version)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that happens only if the lease is still ours, and that renews it."""
        started_s = self._clock.elapsed_s()
        expires_at = self._clock.now() + timedelta(seconds=self._duration_s)
        with self._database.writing() as connection:
            # The guard comes first: a pass that was overtaken must not even try to write.
            changed = connection.execute(
                sa.update(runs)
                .where(
                    runs.c.id == self.run_id,
                    runs.c.version == self._version,
                    runs.c.lease_owner == self._owner,
                )
                .values(version=self._version + 1, lease_expires_at=expires_at)
            )
            if changed.rowcount != 1:
                raise LedgerError(
                    f"another pass took over run {self.run_id}",
                    hint="Nothing was lost: the other pass goes on with it.",
                )
            yield connection
        self._version += 1
        self._renewed_s = started_s

    def renew(self) -> None:
        """Keep the lease through a long step."""
        with self.write():
            pass

    def keep(self) -> None:
        """Renew if a quarter of the lease is used up: cheap enough to call for every block."""
        if self._clock.elapsed_s() - self._renewed_s > self._duration_s / 4:
            self.renew()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the lease, from a thread, through a long step that writes nothing itself.

        A lease that is lost all the same is told by the next write.
        """
        done = threading.Event()

        def keep() -> None:
            while not done.wait(self._duration_s / 10):
                with suppress(LedgerError):
                    self.keep()

        thread = threading.Thread(target=keep, name="keep-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def release(self, *, finished: bool) -> None:
        """Let other passes have the run; `finished` keeps it out of later polls."""
        with self._database.writing() as connection:
            connection.execute(
                sa.update(runs)
                .where(runs.c.id == self.run_id, runs.c.lease_owner == self._owner)
                .values(
                    lease_owner=None,
                    lease_expires_at=None,
                    finished_at=self._clock.now() if finished else None,
                )
            )

    def add_event(
        self, kind: str, data: Mapping[str, Any] | None = None, attempt_id: str | None = None
    ) -> None:
        """Record that something happened."""
        with self.write() as connection:
            self._insert_event(connection, kind, data or {}, attempt_id)

    def record_intent(
        self, *, kind: AttemptKind, ordinal: int, token: str, deadline_at: datetime
    ) -> str:
        """Commit that a job is about to be launched; gives the attempt's id."""
        attempt_id = f"{self.run_id}-{kind}-{ordinal}"
        with self.write() as connection:
            connection.execute(
                sa.insert(attempts).values(
                    id=attempt_id,
                    run_id=self.run_id,
                    kind=str(kind),
                    ordinal=ordinal,
                    token=token,
                    intent_at=self._clock.now(),
                    deadline_at=deadline_at,
                )
            )
            self._insert_event(connection, "intent", {"token": token}, attempt_id)
        return attempt_id

    def record_handle(self, attempt_id: str, handle: Handle, *, adopted: bool) -> None:
        """Record the job; `adopted` says that it was found again after a lost answer."""
        values = {"handle": handle.to_json(), "launched_at": self._clock.now()}
        kind = "adopted" if adopted else "launched"
        self._update_attempt(attempt_id, values, kind, handle.to_json())

    def record_refusal(self, attempt_id: str, refusal: Refusal) -> None:
        """Record an unambiguous no."""
        value = refusal_to_json(refusal)
        self._update_attempt(attempt_id, {"refusal": value}, "refused", value)

    def record_uncertain(self, attempt_id: str) -> None:
        """Record that nobody can tell whether the job exists."""
        values = {"uncertain_at": self._clock.now()}
        self._update_attempt(attempt_id, values, "uncertain", {})

    def record_not_launched(self, attempt_id: str, by: str) -> None:
        """Record who decided that the job does not exist: a person, or the spec."""
        self._update_attempt(attempt_id, {"not_launched_by": by}, "not_launched", {"by": by})

    def record_snapshot(self, attempt_id: str, snapshot: Snapshot) -> None:
        """Record the service's news."""
        data = {"state": str(snapshot.state), "raw_state": snapshot.raw_state}
        if snapshot.error:
            data["error"] = snapshot.error
        values = {"snapshot": snapshot_to_json(snapshot)}
        self._update_attempt(attempt_id, values, "snapshot", data)

    def record_artifacts(
        self,
        items: Iterable[Artifact],
        event: str,
        data: Mapping[str, Any],
        attempt_id: str | None = None,
    ) -> None:
        """Record the files of a step together with the event that ends it."""
        with self.write() as connection:
            for item in items:
                connection.execute(
                    sa.delete(artifacts).where(
                        artifacts.c.run_id == self.run_id,
                        artifacts.c.kind == item.kind,
                        artifacts.c.name == item.name,
                    )
                )
                connection.execute(
                    sa.insert(artifacts).values(
                        run_id=self.run_id,
                        kind=item.kind,
                        name=item.name,
                        uri=item.uri,
                        size_bytes=item.size_bytes,
                        sha256=item.sha256,
                    )
                )
            self._insert_event(connection, event, data, attempt_id)

    def record_metrics(self, attempt_id: str, points: Iterable[Metric]) -> None:
        """Record time series; points that are there already are replaced."""
        rows = [
            {
                "run_id": self.run_id,
                "attempt_id": attempt_id,
                "name": point.name,
                "step": point.step,
                "epoch": point.epoch,
                "value": point.value,
            }
            for point in points
        ]
        with self.write() as connection:
            connection.execute(sa.delete(metrics).where(metrics.c.attempt_id == attempt_id))
            if rows:
                connection.execute(sa.insert(metrics), rows)

    def _update_attempt(
        self, attempt_id: str, values: Mapping[str, Any], event: str, data: Mapping[str, Any]
    ) -> None:
        with self.write() as connection:
            connection.execute(
                sa.update(attempts).where(attempts.c.id == attempt_id).values(**values)
            )
            self._insert_event(connection, event, data, attempt_id)

    def _insert_event(
        self,
        connection: sa.Connection,
        kind: str,
        data: Mapping[str, Any],
        attempt_id: str | None,
    ) -> None:
        connection.execute(
            sa.insert(events).values(
                run_id=self.run_id,
                attempt_id=attempt_id,
                at=self._clock.now(),
                kind=kind,
                data=dict(data),
            )
        )


def new_owner() -> str:
    """Names this pass: machine (boot, process space), process, and a number of its own."""
    return "/".join((_machine(), str(os.getpid()), _started(os.getpid()), uuid.uuid4().hex[:12]))


def is_dead(owner: str) -> bool:
    """Whether the pass certainly is over: it ran on this machine and its process is gone."""
    machine, pid, started, *_ = [*owner.split("/"), "", ""]
    # On Windows `os.kill` would end the process instead of asking for it.
    if machine != _machine() or not pid.isdigit() or os.name == "nt":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    # The number may belong to a younger process by now.
    return _started(int(pid)) != started


def _machine() -> str:
    parts = [socket.gethostname().replace("/", "-")]
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Two containers may share name and boot, but not the numbering of processes.
        parts += [boot, str(Path("/proc/self/ns/pid").readlink())]
    except OSError:
        pass
    return "~".join(parts)


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; empty where /proc does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
