"""What no run needs any more: decided from facts and listings alone, and nothing is removed here.

Kept in any case: what a run that has not ended might still read (also HELD and UNCERTAIN ones), and
every name that is not of this program's own layout. Repos of candidates serve every ledger that
publishes to a target, so of them only branches go that a run of this ledger made and has published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from orchestrator.ledger import Facts
from orchestrator.state import Action, RunState, Status, is_tuned
from orchestrator.stores.base import StoredObject

_UNNAMED = "no run of this ledger names it"
#: Whatever was touched so recently may be in the making, whatever age is asked for.
FRESH = timedelta(hours=1)
#: A rehearsal without a result may be running; none takes so long.
ABANDONED = timedelta(days=1)

_NEVER = datetime.max.replace(tzinfo=UTC)
_STAGED = re.compile(r"staged/([0-9a-f]{64})\.jsonl")
_OUTPUT = re.compile(r"outputs/((\d{8}-[0-9a-f]{8}-[0-9a-f]{6})-tune-\d+)/.+", re.DOTALL)


class Category(StrEnum):
    """What a thing is; the order is that of the listing."""

    STAGED = "staged"
    OUTPUTS = "outputs"
    CANDIDATES = "candidates"
    DATA = "data"
    COLLECTED = "collected"
    PARTS = "parts"
    REHEARSALS = "rehearsals"
    LOGS = "logs"


@dataclass(frozen=True)
class RunRecord:
    """A run with its derived status."""

    facts: Facts
    status: Status

    @property
    def is_needed(self) -> bool:
        """Whether a pass, or a person's decision, may still have to read the run's files."""
        waits = (RunState.HELD, RunState.UNCERTAIN)
        if self.status.action is not Action.DONE or self.status.state in waits:
            return True
        # What was trained is paid for, and goes on with another job, or is published all the same.
        ended = (RunState.FAILED, RunState.CANCELLED)
        return self.status.state in ended and is_tuned(self.facts)

    @property
    def last_at(self) -> datetime:
        """When the last thing happened to it; that something of it was removed does not count."""
        events = [event.at for event in self.facts.events if event.kind != "removed"]
        return max(events, default=self.facts.run.created_at)


@dataclass(frozen=True)
class LocalEntry:
    """A file or folder of this machine, by its path below the home folder."""

    path: Path
    size_bytes: int
    touched_at: datetime
    #: For a rehearsal: whether it has come to its end.
    finished: bool = False


@dataclass(frozen=True)
class Branch:
    """A branch of a model repo on the Hub, as it was when its run left it."""

    repo: str
    name: str
    revision: str


@dataclass(frozen=True)
class Garbage:
    """One thing that may go: `objects` in a bucket, the local `path`, or the `branch` of a repo.

    `run_ids` are the runs that used it. `in_ledger` is False if no run of this ledger did.
    """

    category: Category
    name: str
    size_bytes: int
    reason: str
    since: datetime
    objects: tuple[StoredObject, ...] = ()
    path: Path | None = None
    branch: Branch | None = None
    run_ids: tuple[str, ...] = ()
    in_ledger: bool = True


def staged_garbage(
    runs: Sequence[RunRecord], root: str, objects: Iterable[StoredObject]
) -> Iterator[Garbage]:
    """The staged splits below `root` that no run which is still needed names."""
    users = _users_of_splits(runs)
    for stored in objects:
        match = _STAGED.fullmatch(stored.uri.removeprefix(f"{root}/"))
        if match is None:
            continue
        used_by = users.get(match[1], [])
        if any(run.is_needed for run in used_by):
            continue
        yield _in_bucket(
            Category.STAGED,
            stored.uri,
            [stored],
            used_by,
            "the runs that were trained on it have ended",
        )


def output_garbage(
    runs: Sequence[RunRecord], root: str, objects: Iterable[StoredObject]
) -> Iterator[Garbage]:
    """The outputs of jobs below `root` whose run has ended and whose files were collected."""
    by_id = {run.facts.run.id: run for run in runs}
    folders: dict[str, list[StoredObject]] = {}
    run_of: dict[str, str] = {}
    for stored in objects:
        match = _OUTPUT.fullmatch(stored.uri.removeprefix(f"{root}/"))
        if match is not None:
            folders.setdefault(match[1], []).append(stored)
            run_of[match[1]] = match[2]
    for attempt_id, found in sorted(folders.items()):
        run = by_id.get(run_of[attempt_id])
        if run is not None and (run.is_needed or not _was_collected(run, attempt_id)):
            continue
        name = f"{root}/outputs/{attempt_id}/"
        reason = "the run has ended, and the files that count were collected"
        yield _in_bucket(Category.OUTPUTS, name, found, [run] if run else [], reason)


def candidate_garbage(runs: Sequence[RunRecord]) -> Iterator[Garbage]:
    """The branches of candidates that were published, by what this ledger says of them.

    Not those of runs that have ended otherwise: there the model is nowhere else on the Hub.
    """
    read = [
        attempt.handle.id
        for run in runs
        if run.is_needed
        for attempt in run.facts.attempts
        if attempt.handle is not None
    ]
    for run in runs:
        if run.status.state is not RunState.PUBLISHED:
            continue
        gone = {event.data.get("what") for event in run.facts.events if event.kind == "removed"}
        for event in run.facts.events:
            if event.kind != "candidate":
                continue
            branch = Branch(*(str(event.data.get(one)) for one in ("repo", "branch", "revision")))
            name = f"hf://models/{branch.repo}@{branch.name}"
            if name in gone or any(branch.revision in uri for uri in read):
                continue
            yield Garbage(
                category=Category.CANDIDATES,
                name=name,
                # The Hub keeps the bytes as long as any commit of the repo names them.
                size_bytes=0,
                reason="the run is published; the Hub frees what nothing else holds",
                since=run.last_at,
                branch=branch,
                run_ids=(run.facts.run.id,),
            )


def local_garbage(
    runs: Sequence[RunRecord], entries: Iterable[LocalEntry], now: datetime
) -> Iterator[Garbage]:
    """What may go from the home folder; `entries` are those that `sweeping` knows to look at."""
    for entry in entries:
        found = _local(runs, entry, now)
        if found is not None:
            yield found


def _local(runs: Sequence[RunRecord], entry: LocalEntry, now: datetime) -> Garbage | None:
    if now - entry.touched_at < FRESH:
        return None
    match entry.path.parts:
        case ("data" | "rehearsals", name) if name.startswith("."):
            return _on_disk(
                Category.PARTS, entry, "a submission or a cleaning-up left it unfinished"
            )
        case ("data", digest):
            used_by = [run for run in runs if run.facts.run.plan.digest == digest]
            if any(run.is_needed for run in used_by):
                return None
            reason = (
                "the runs of this plan have ended; a submission writes it again"
                if used_by
                else _UNNAMED
            )
            return _on_disk(Category.DATA, entry, reason, used_by, in_ledger=bool(used_by))
        case ("runs", run_id, name):
            run = next((one for one in runs if one.facts.run.id == run_id), None)
            if run is None or run.is_needed:
                return None
            if name != "collected":
                return _on_disk(Category.PARTS, entry, "an interrupted pass left it", [run])
            if run.status.state is RunState.PUBLISHED:
                reason = "the run is published; its adapter is kept"
                return _on_disk(Category.COLLECTED, entry, reason, [run])
            return None
        case ("rehearsals", _):
            if not entry.finished and now - entry.touched_at < ABANDONED:
                return None
            reason = "has come to its end" if entry.finished else "was interrupted"
            return _on_disk(Category.REHEARSALS, entry, reason)
        case ("logs", _):
            return _on_disk(Category.LOGS, entry, "the log of a bug")
        case _:
            return None


def is_needed(item: Garbage, runs: Iterable[RunRecord]) -> bool:
    """Whether one of these runs, which the listing did not know, names the thing after all."""
    needed = [run.facts.run.plan for run in runs if run.is_needed]
    match item.category:
        case Category.STAGED:
            return any(f"/{split.sha256}." in item.name for p in needed for split in p.splits)
        case Category.DATA:
            return any(item.name == f"data/{plan.digest}" for plan in needed)
        case _:
            return False  # belongs to one run alone, or to none


def _users_of_splits(runs: Sequence[RunRecord]) -> Mapping[str, list[RunRecord]]:
    """The runs that name a content, by its SHA-256, staged by them already or not."""
    users: dict[str, list[RunRecord]] = {}
    for run in runs:
        for sha256 in {split.sha256 for split in run.facts.run.plan.splits}:
            users.setdefault(sha256, []).append(run)
    return users


def _was_collected(run: RunRecord, attempt_id: str) -> bool:
    collected = run.facts.last_since("collected", "files_lost")
    return collected is not None and collected.attempt_id == attempt_id


def _in_bucket(
    category: Category,
    name: str,
    objects: Sequence[StoredObject],
    used_by: Sequence[RunRecord],
    reason: str,
) -> Garbage:
    written = [stored.created_at for stored in objects if stored.created_at is not None]
    return Garbage(
        category=category,
        name=name,
        size_bytes=sum(stored.size_bytes for stored in objects),
        reason=reason if used_by else _UNNAMED,
        # What does not tell its age is never old enough.
        since=max([*written, *(run.last_at for run in used_by)], default=_NEVER),
        objects=tuple(objects),
        run_ids=tuple(run.facts.run.id for run in used_by),
        in_ledger=bool(used_by),
    )


def _on_disk(
    category: Category,
    entry: LocalEntry,
    reason: str,
    used_by: Sequence[RunRecord] = (),
    *,
    in_ledger: bool = True,
) -> Garbage:
    return Garbage(
        category=category,
        name=entry.path.as_posix(),
        size_bytes=entry.size_bytes,
        reason=reason,
        since=max([entry.touched_at, *(run.last_at for run in used_by)]),
        path=entry.path,
        run_ids=tuple(run.facts.run.id for run in used_by),
        in_ledger=in_ledger,
    )
