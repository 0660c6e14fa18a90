"""Publishes a checked adapter: one atomic commit, a tag, and a comparison with what the Hub holds.

The commit names the parent that it was made for, so a commit sent twice can only happen once; and
its description names the run, so one whose answer was lost is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.digests import sha256_file
from orchestrator.errors import Ambiguous, Conflict, LedgerError
from orchestrator.ledger import Artifact, Facts, Lease
from orchestrator.progress import SILENT, Moved, Reporter
from orchestrator.publishable import is_publishable
from orchestrator.report.card import run_tag

if TYPE_CHECKING:
    from orchestrator.stores.hub import HubStore, RemoteFile

CARD = "README.md"


@dataclass(frozen=True)
class Publication:
    """What must stand on the Hub: files by their path in the repo, and their SHA-256."""

    repo: str
    private: bool
    title: str
    marker: str
    tag: str
    files: Mapping[str, Path]
    digests: Mapping[str, str]


def publication(facts: Facts, folder: Path) -> Publication:
    """The publication of a run, from the folder with its checked files and its card."""
    run = facts.run
    if run.target.repo is None or run.plan.spec.publish is None:
        raise LedgerError(f"run {run.id} has no repo to be published to")
    names = [*facts.artifacts_of("adapter"), CARD]
    return Publication(
        repo=run.target.repo,
        private=run.plan.spec.publish.private,
        title=f"Publish {run.plan.name}",
        marker=f"orchestrator run {run.id}",
        tag=run_tag(run.id),
        files={name: folder / name for name in names},
        digests={name: sha256_file(folder / name) for name in names},
    )


def publish(
    item: Publication, hub: HubStore, facts: Facts, lease: Lease, reporter: Reporter = SILENT
) -> None:
    """Bring the repo to the publication and record it; one that is there already is left alone."""
    size_bytes = sum(file.stat().st_size for file in item.files.values())
    try:
        with reporter.transfer("publishing", size_bytes) as moved:
            revision = _revision(item, hub, facts, lease, moved)
    except Conflict as conflict:
        lease.add_event("publish_held", {"reason": f"{item.repo}: {conflict.message}"})
        return
    with reporter.transfer("reading back", size_bytes) as moved:
        differing = _differing_bytes(item, hub, revision, moved)
    if differing:
        reason = f"{item.repo} at {revision} holds other bytes than ours: {', '.join(differing)}"
        lease.add_event("publish_held", {"reason": reason})
        return
    hub.tag(item.repo, item.tag, revision)
    artifacts = [
        Artifact(
            "published",
            name,
            f"hf://{item.repo}@{revision}/{name}",
            path.stat().st_size,
            item.digests[name],
        )
        for name, path in item.files.items()
    ]
    data = {"repo": item.repo, "revision": revision, "tag": item.tag}
    lease.record_artifacts(artifacts, "published", data)


def _revision(item: Publication, hub: HubStore, facts: Facts, lease: Lease, moved: Moved) -> str:
    """The commit that holds the publication: found, or made now."""
    # The head is read first: a commit of ours that lands after the search meets a stale parent.
    head = hub.ensure_repo(item.repo, private=item.private)
    if facts.last("publishing") is not None:
        found = hub.find_commit(item.repo, item.marker)
        if found is not None:
            return found
    remote = hub.files(item.repo, head)
    stale = [name for name in remote if name not in item.files and is_publishable(name)]
    if not stale and not _differing(item, remote):
        return head
    lease.add_event("publishing", {"repo": item.repo, "parent": head, "marker": item.marker})
    try:
        return hub.commit(
            item.repo,
            item.files,
            message=item.title,
            description=item.marker,
            parent_commit=head,
            delete=stale,
            progress=moved,
        )
    except (Ambiguous, Conflict):
        # Lost answer, or an earlier commit of ours that arrived after all.
        found = hub.find_commit(item.repo, item.marker)
        if found is None:
            raise
        return found


def _differing(item: Publication, remote: Mapping[str, RemoteFile]) -> list[str]:
    """The files that the repo lacks or, as it lists them, holds with other bytes."""
    differing: list[str] = []
    for name, path in item.files.items():
        theirs = remote.get(name)
        if theirs is None or theirs.size_bytes != path.stat().st_size:
            differing.append(name)
        elif theirs.sha256 is not None:
            differing += [name] if theirs.sha256 != item.digests[name] else []
        elif not theirs.same_as(path):
            differing.append(name)
    return differing


def _differing_bytes(item: Publication, hub: HubStore, revision: str, moved: Moved) -> list[str]:
    """The files that a revision lacks or serves with other bytes: every one is read back."""
    remote = hub.files(item.repo, revision)
    return [
        name
        for name, path in item.files.items()
        if name not in remote
        or remote[name].size_bytes != path.stat().st_size
        or hub.digest_of(item.repo, revision, name, moved) != item.digests[name]
    ]
