"""Publishes a checked model: one atomic commit, a tag, and a comparison with what the Hub holds.

A candidate was evaluated beside what the repo held then: on anything newer nothing is published.
The commit names the parent that it was made for, so a commit sent twice can only happen once; and
its description names the run, so one whose answer was lost is found again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.digests import sha256_file
from orchestrator.errors import Ambiguous, Conflict, LedgerError
from orchestrator.evaluation_facts import candidate
from orchestrator.ledger import Artifact, Event, Facts, Lease
from orchestrator.progress import SILENT, Moved, Reporter
from orchestrator.publishable import is_publishable
from orchestrator.report.card import run_tag

if TYPE_CHECKING:
    from orchestrator.stores.hub import HubStore, RemoteFile

CARD = "README.md"
#: What the Hub puts into a new repo.
_OF_AN_EMPTY_REPO = frozenset({".gitattributes"})


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


def publication(facts: Facts, folder: Path, pictures: Iterable[str] = ()) -> Publication:
    """The publication of a run, from the folder with its checked files, its card and its plots."""
    run = facts.run
    if run.target.repo is None or run.plan.spec.publish is None:
        raise LedgerError(f"run {run.id} has no repo to be published to")
    names = [*facts.artifacts_of("adapter"), *pictures, CARD]
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
    try:
        hub.tag(item.repo, item.tag, revision)
    except Conflict as conflict:
        reason = (
            f"{conflict.message}; what was published stands at {revision[:12]}: take that tag away "
            f"on the Hub, then: orchestrator publish {facts.run.id}"
        )
        lease.add_event("publish_held", {"reason": reason})
        return
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
    _refuse_other_parent(facts, head, remote)
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


def _refuse_other_parent(facts: Facts, head: str, remote: Mapping[str, RemoteFile]) -> None:
    """Raise `Conflict` where the repo is not as it was when the candidate was offered.

    What was judged was judged beside that state; a person may release the run all the same.
    """
    offered = candidate(facts)
    if offered is None or offered.data.get("target_head") == head or _is_released(facts, offered):
        return
    if offered.data.get("target_head") is None and remote.keys() <= _OF_AN_EMPTY_REPO:
        return
    was = str(offered.data.get("target_head") or "not there")[:12]
    raise Conflict(
        f"it was {was} when this run's candidate was evaluated and is {head[:12]} now: somebody "
        "published meanwhile; the candidate is intact; look at what is there, then: orchestrator "
        f"publish {facts.run.id}"
    )


def _is_released(facts: Facts, offered: Event) -> bool:
    """Whether a person let the run go on after it was held beside this candidate's target.

    Other releases say nothing of what the target holds.
    """
    since = [event.kind for event in facts.events[facts.events.index(offered) :]]
    return "publish_held" in since and "publish_released" in since[since.index("publish_held") :]


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
