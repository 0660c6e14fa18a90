"""Cleaning up: lists what `garbage` then judges, and removes what it found, one thing at a time.

Everything is looked at again directly before it goes: a run that was added meanwhile keeps what it
names, an object that was written again is another generation, and stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.connections import Connections
from orchestrator.errors import LedgerError, OrchestratorError
from orchestrator.garbage import (
    FRESH,
    Category,
    Garbage,
    LocalEntry,
    RunRecord,
    candidate_garbage,
    is_needed,
    local_garbage,
    output_garbage,
    staged_garbage,
)
from orchestrator.ledger import Lease, Ledger, Target
from orchestrator.settings import Settings
from orchestrator.state import status
from orchestrator.stores.base import ObjectStore

_RUN = re.compile(r"\d{8}-[0-9a-f]{8}-[0-9a-f]{6}")
#: The names of this program's own layout, by the folder that they are in.
_NAMES = {
    "data": re.compile(r"[0-9a-f]{64}|\.partial-.+|\.removed-.+"),
    "rehearsals": re.compile(r"\d{8}T\d{12}-.+|\.removed-.+"),
    "logs": re.compile(r"bug-.+\.log"),
}
_IN_RUN = re.compile(r"collected|(collected|adapter)\.partial|\.removed-.+")
_FINISHED_REHEARSAL = "rehearsal.json"
_SERVED_SANDBOX = "serving.json"


@dataclass(frozen=True)
class Survey:
    """What may go, and what was left out: younger things, and those of no run of this ledger.

    `problems` are the places that could not be looked at.
    """

    items: tuple[Garbage, ...]
    younger: tuple[Garbage, ...]
    others: tuple[Garbage, ...]
    problems: tuple[str, ...]


class Sweeper:
    """Cleans up after the runs of one ledger: in their buckets, and in the home folder."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        connections: Connections,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._home = settings.home
        self._settings = settings
        self._ledger = ledger
        self._connections = connections
        self._clock = clock
        self._known: frozenset[str] = frozenset()
        self._stores: dict[str, ObjectStore] = {}

    def survey(self, *, older_than: timedelta, others: bool) -> Survey:
        """Look everywhere; `others` takes in what no run of this ledger names."""
        now = self._clock.now()
        # The ids come first: a run that is added while this looks around is a new one.
        ids = self._ledger.run_ids()
        self._known = frozenset(ids)
        runs = self._records(ids)
        found: list[Garbage] = []
        problems: list[str] = []
        for root in self._roots(runs):
            store = self._stores[_bucket(root)]
            try:
                found += staged_garbage(runs, root, store.list(f"{root}/staged/"))
                found += output_garbage(runs, root, store.list(f"{root}/outputs/"))
            except OrchestratorError as problem:
                problems.append(f"could not look at {root}: {problem}")
        found += candidate_garbage(runs)
        found += local_garbage(runs, self._entries(), now)
        order = list(Category)
        found.sort(key=lambda item: (order.index(item.category), item.name))
        old = [item for item in found if now - item.since >= older_than]
        return Survey(
            items=tuple(item for item in old if item.in_ledger or others),
            younger=tuple(item for item in found if now - item.since < older_than),
            others=tuple(item for item in old if not item.in_ledger and not others),
            problems=tuple(problems),
        )

    def remove(self, item: Garbage) -> None:
        """Remove one thing, and record it in its runs' events or in `logs/gc.log`.

        Raises what a store raises, `LedgerError` if the thing is needed by now, and OSError.
        """
        with ExitStack() as stack:
            leases = [stack.enter_context(self._leased(run_id)) for run_id in item.run_ids]
            self._check_unneeded(item)
            if item.path is not None:
                self._remove_local(item, self._home / item.path)
            if item.branch is not None:
                branch = item.branch
                self._connections.hub_commits.delete_branch(
                    branch.repo, branch.name, at=branch.revision
                )
            for stored in item.objects:
                self._stores[_bucket(stored.uri)].delete(stored)
            data = {"what": item.name, "size_bytes": item.size_bytes}
            for lease in leases:
                lease.add_event("removed", data)
        if not item.run_ids:
            self._log(f"removed {item.name} ({item.size_bytes} bytes): {item.reason}")

    @contextmanager
    def _leased(self, run_id: str) -> Iterator[Lease]:
        with self._ledger.lease(run_id) as lease:
            if lease is None:
                raise LedgerError(f"another pass works on run {run_id}", hint="Try again later.")
            lease.finished = True  # it has ended: polls must not take it up again
            yield lease

    def _check_unneeded(self, item: Garbage) -> None:
        """Raise if a run that was added since the survey names the thing."""
        added = [run_id for run_id in self._ledger.run_ids() if run_id not in self._known]
        if is_needed(item, self._records(added)):
            raise LedgerError(f"{item.name} is needed by a run that was added a moment ago")

    def _check_untouched(self, item: Garbage, path: Path) -> None:
        """Raise if somebody has begun to use it, who may not be in the ledger yet."""
        touched_at = self._entry(path).touched_at
        if touched_at > item.since and self._clock.now() - touched_at < FRESH:
            raise LedgerError(f"{item.name} was used a moment ago", hint="Try again later.")

    def _remove_local(self, item: Garbage, path: Path) -> None:
        """First out of the way, then asked once more, then removed: no run sees it half gone."""
        away = path.with_name(f".removed-{uuid.uuid4().hex}")
        try:
            if path.is_file():
                path.unlink()
                return
            path.rename(away)
        except FileNotFoundError:
            return  # another cleaning-up was faster
        try:
            self._check_unneeded(item)
            self._check_untouched(item, away)
        except LedgerError:
            if not path.exists():
                away.rename(path)
            raise
        shutil.rmtree(away)

    def _log(self, line: str) -> None:
        folder = self._home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "gc.log").open("a", encoding="utf-8") as log:
            log.write(f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ} {line}\n")

    def _records(self, run_ids: Sequence[str]) -> list[RunRecord]:
        now = self._clock.now()
        every = [self._ledger.facts(run_id) for run_id in run_ids]
        return [RunRecord(facts, status(facts, now)) for facts in every]

    def _roots(self, runs: Sequence[RunRecord]) -> list[str]:
        """The places in buckets that runs or settings name; their stores are kept by bucket."""
        every = [run.facts.run.target for run in runs]
        # Staged rows in repos of the Hub stay in their histories: nothing would be won there.
        # What was adopted from elsewhere may have no bucket at all.
        targets = [target for target in every if target.service == "vertex" and target.bucket]
        if self._settings.bucket and self._settings.project:
            targets.append(
                Target("vertex", self._settings.project, "", self._settings.bucket, repo=None)
            )
        for target in targets:
            self._stores[_bucket(target.bucket)] = self._connections.store(target)
        return sorted({target.bucket for target in targets})

    def _entries(self) -> Iterator[LocalEntry]:
        """The files and folders of this program's layout below the home folder, never a link."""
        for place, names in _NAMES.items():
            for path in _below(self._home / place):
                if names.fullmatch(path.name) and not _is_served(path):
                    yield self._entry(path)
        for folder in _below(self._home / "runs"):
            if _RUN.fullmatch(folder.name):
                yield from (
                    self._entry(path) for path in _below(folder) if _IN_RUN.fullmatch(path.name)
                )

    def _entry(self, path: Path) -> LocalEntry:
        about = list(_stats(path))
        newest = max((one.st_mtime for one in about), default=None)
        return LocalEntry(
            path=path.relative_to(self._home),
            size_bytes=sum(one.st_size for one in about if stat.S_ISREG(one.st_mode)),
            # What has gone meanwhile was in use a moment ago.
            touched_at=self._clock.now() if newest is None else datetime.fromtimestamp(newest, UTC),
            finished=(path / _FINISHED_REHEARSAL).is_file(),
        )


def _stats(path: Path) -> Iterator[os.stat_result]:
    """What a path and all below it are; what goes meanwhile is left out."""
    places = [str(path)]
    for folder, folders, files in os.walk(path):
        places += [os.path.join(folder, name) for name in (*folders, *files)]  # noqa: PTH118 (fast)
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            yield os.lstat(place)


def _is_served(folder: Path) -> bool:
    """Whether a living process serves the sandbox in this folder."""
    try:
        pid = int(json.loads((folder / _SERVED_SANDBOX).read_bytes())["pid"])
        # On Windows `os.kill` would end the process instead of asking for it.
        if os.name != "nt":
            os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _below(folder: Path) -> list[Path]:
    """What lies in a folder, in order; nothing if there is none, or it is a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def _bucket(uri: str) -> str:
    """`gs://bucket` of an address."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
