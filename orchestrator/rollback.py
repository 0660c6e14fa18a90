"""Brings a published repo back to one of its tags: one commit, read back before it is called done.

Nothing is lost: what stood there stays in the history, and under its own tag. The commit names the
parent that it was made for, so it happens once, or not at all where somebody else committed first;
its description says what it is, so one whose answer was lost is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import Corrupt, InputError, NotFound
from orchestrator.ledger import DamagedRun, Ledger
from orchestrator.progress import SILENT, Reporter
from orchestrator.report.card import run_tag

if TYPE_CHECKING:
    from orchestrator.stores.hub import RemoteFile
    from orchestrator.stores.hub_trees import HubTrees

#: How the Hub stores files, not what they are: it stays as it is, whatever was tracked since.
KEPT = frozenset({".gitattributes"})
#: The event of the run that the repo was brought back to.
EVENT = "rolled_back"
_MOST_TAGS = 12


@dataclass(frozen=True)
class Rollback:
    """What it takes to bring main of a repo back to a tag. Nothing has been done yet.

    `head` is main's commit and `target` that of the tag. `restored` are the files that differ or
    are missing, `deleted` those that the tag does not have, `unchanged` the others.
    """

    repo: str
    tag: str
    target: str
    head: str
    restored: tuple[RemoteFile, ...]
    deleted: tuple[str, ...]
    unchanged: tuple[RemoteFile, ...]

    @property
    def is_needed(self) -> bool:
        """Whether main differs from the tag."""
        return bool(self.restored or self.deleted)

    @property
    def marker(self) -> str:
        """Names this very commit: the same from another head is another one."""
        return f"{self.purpose}, on {self.head}"

    @property
    def purpose(self) -> str:
        """Names every commit that brings the repo back to this tag."""
        return f"orchestrator rollback to {self.tag} at {self.target}"


def plan_rollback(hub: HubTrees, repo: str, tag: str) -> Rollback:
    """Compare main with a tag. Raises `InputError` if there is no such tag, and names those there.

    `NotFound` if there is no such repo, or this token does not see it.
    """
    tags = hub.tags(repo)
    if tag not in tags:
        names = sorted(tags)
        more = f", … and {len(names) - _MOST_TAGS} more" if len(names) > _MOST_TAGS else ""
        raise InputError(
            f"{repo} has no tag {tag}",
            hint=f"Its tags: {', '.join(names[-_MOST_TAGS:])}{more}" if names else "It has none.",
        )
    # The head is read first: whatever is committed after that meets a stale parent.
    head, target = hub.head(repo), tags[tag]
    if head is None:
        raise NotFound(f"{repo} has no main branch that this token can see")
    wanted, there = _tree(hub.files(repo, target)), _tree(hub.files(repo, head))
    return Rollback(
        repo=repo,
        tag=tag,
        target=target,
        head=head,
        restored=tuple(file for path, file in wanted.items() if there.get(path) != file),
        deleted=tuple(path for path in there if path not in wanted),
        unchanged=tuple(file for path, file in wanted.items() if there.get(path) == file),
    )


def roll_back(change: Rollback, hub: HubTrees, reporter: Reporter = SILENT) -> str:
    """Make the commit and read every file back; gives main's commit.

    Raises `Conflict` if somebody else committed first (then nothing has changed), `Ambiguous` if
    the commit may exist (the same again finds out), `Corrupt` if other bytes are served.
    """
    revision = change.head
    if change.is_needed:
        with reporter.unbroken("the answer to the commit"):
            revision = hub.sent_or_found(change.repo, change.marker, lambda: _send(change, hub))
    _check(change, hub, revision, reporter)
    return revision


def _send(change: Rollback, hub: HubTrees) -> str:
    return hub.bring_back(
        change.repo,
        [file.path for file in change.restored],
        source=change.target,
        delete=change.deleted,
        message=f"Roll back to {change.tag}",
        description=change.marker,
        parent_commit=change.head,
    )


def _check(change: Rollback, hub: HubTrees, revision: str, reporter: Reporter) -> None:
    """Raise `Corrupt` unless the revision has the files of the tag, those alone, byte for byte."""
    wanted = {file.path: file for file in (*change.restored, *change.unchanged)}
    there = _tree(hub.files(change.repo, revision))
    wrong = sorted(there.keys() ^ wanted.keys())
    size_bytes = sum(file.size_bytes for file in wanted.values())
    with reporter.transfer("reading back", size_bytes) as moved:
        wrong += [
            path
            for path, file in wanted.items()
            if path in there and not hub.serves(change.repo, revision, file, moved)
        ]
    if wrong:
        raise Corrupt(
            f"main of {change.repo} is at {revision[:12]} now, and differs from {change.tag} in: "
            f"{', '.join(wrong)}",
            hint="Run the same command again; if it fails again, what the Hub holds is damaged.",
        )


def _tree(files: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
    return {path: file for path, file in files.items() if path not in KEPT}


def published_run(ledger: Ledger, repo: str, tag: str) -> str | None:
    """The run of this ledger that was published to the repo under this tag, or None."""
    for run_id in ledger.run_ids():
        if run_tag(run_id) != tag:
            continue
        try:
            event = ledger.facts(run_id).last("published")
        except DamagedRun:
            return None
        if event is not None and (event.data.get("repo"), event.data.get("tag")) == (repo, tag):
            return run_id
    return None


def record(ledger: Ledger, run_id: str, change: Rollback, revision: str, by: str) -> bool:
    """Record on a run that its repo was brought back to it, once; False while a pass holds it."""
    with ledger.lease(run_id) as lease:
        if lease is None:
            return False
        lease.finished = run_id not in ledger.run_ids(unfinished_only=True)
        data = {"repo": change.repo, "tag": change.tag, "revision": revision, "by": by}
        earlier = [event.data for event in ledger.facts(run_id).events if event.kind == EVENT]
        if not any(one.get("revision") == revision for one in earlier):
            lease.add_event(EVENT, data)
    return True


def was_rolled_back(change: Rollback, hub: HubTrees) -> bool:
    """Whether main's commit is itself a rollback to the tag: one that was not recorded, perhaps."""
    return not change.is_needed and hub.find_commit(change.repo, change.purpose) == change.head
