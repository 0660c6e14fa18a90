"""Publishes prepared rows as a dataset: one atomic commit with a card, a tag, all read back.

The rows are searched for what is private first, and the card is judged by the Hub: neither a repo
nor a byte is there before both have passed. The same again changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.dataset.preparing.prepared import SUMMARY, PreparedData
from orchestrator.dataset.preparing.splits import SPLITS
from orchestrator.dataset.privacy.leaving import private_in_files, private_in_text
from orchestrator.dataset.rules import SplitName
from orchestrator.digests import sha256_file
from orchestrator.errors import CheckFailed, Corrupt, InputError
from orchestrator.progress import SILENT, Reporter
from orchestrator.report.data_card import DataCard, data_card
from orchestrator.spec import JobSpec
from orchestrator.stores.hub_remote import RemoteFile

if TYPE_CHECKING:
    from orchestrator.stores.hub_trees import HubTrees

CARD = "README.md"
_KEPT = ".gitattributes"
#: What is private is named so often, then counted.
_MOST_SHOWN = 5


@dataclass(frozen=True)
class DataRequest:
    """Prepared rows, and where they shall go. `splits` are those that are published."""

    spec: JobSpec
    prepared: PreparedData
    repo: str
    private: bool = True
    licence: str | None = None
    splits: tuple[SplitName, ...] = SPLITS


@dataclass(frozen=True)
class PublishedData:
    """What stands on the Hub now. `committed` is False if it stood there already."""

    repo: str
    revision: str
    tag: str
    committed: bool
    files: Mapping[str, str]


def publish_data(request: DataRequest, hub: HubTrees, reporter: Reporter = SILENT) -> PublishedData:
    """Bring a dataset repo to these rows. It is created, private unless asked otherwise.

    Raises `CheckFailed` for rows with something private, `InputError` for a repo of another
    visibility or with other things in it, `Conflict` if somebody commits meanwhile, `Corrupt`.
    """
    rows = {_path(split): file for split, file in request.prepared.files.items()}
    rows = {path: file for path, file in rows.items() if path in map(_path, request.splits)}
    if not rows:
        raise InputError("no split that would be published has a row")
    with reporter.waiting("looking for what is private"):
        refuse_private({**rows, SUMMARY: request.prepared.folder / SUMMARY})
        _check_unchanged(request.prepared, rows)
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        return _publish(request, rows, Path(folder), hub, reporter)


def refuse_private(files: Mapping[str, Path]) -> None:
    """Raise `CheckFailed` if something private stands in what is about to leave."""
    lines = {path: file for path, file in files.items() if path != SUMMARY}
    others = (
        private_in_text(path, files[path].read_text("utf-8")) for path in files.keys() - lines
    )
    every = itertools.chain(private_in_files(lines), *others)
    found = [str(one) for one in itertools.islice(every, _MOST_SHOWN)]
    if found:
        more = sum(1 for _ in every)
        shown = "; ".join(found) + (f"; and {more} more" if more else "")
        raise CheckFailed(
            f"nothing is published, for the rows hold what is private: {shown}",
            hint="Where it stands in your file: orchestrator check SPEC --only privacy. "
            "Remove it, or write `redact: true` under `data:`; revoke keys and tokens.",
        )


def _publish(
    request: DataRequest,
    rows: Mapping[str, Path],
    folder: Path,
    hub: HubTrees,
    reporter: Reporter,
) -> PublishedData:
    repo = hub.check_write(request.repo)
    files = {**rows, SUMMARY: request.prepared.folder / SUMMARY, CARD: folder / CARD}
    card = _card(request, repo, rows)
    tag = _tag(card, files)
    files[CARD].write_text(data_card(card, tag), encoding="utf-8", newline="\n")
    hub.check_card(files[CARD].read_text(encoding="utf-8"))
    _check_visibility(repo, hub, private=request.private)
    head = hub.ensure_repo(repo, private=request.private)
    revision = _revision(request, repo, tag, head, files, hub, reporter)
    digests = {path: sha256_file(file) for path, file in files.items()}
    _read_back(repo, revision, files, digests, hub, reporter)
    if not _is_tagged(repo, tag, files, hub):
        hub.tag(repo, tag, revision)
    return PublishedData(repo, revision, tag, revision != head, digests)


def _revision(
    request: DataRequest,
    repo: str,
    tag: str,
    head: str,
    files: Mapping[str, Path],
    hub: HubTrees,
    reporter: Reporter,
) -> str:
    """The commit that holds the files: main's, as it was read before, or one made on it now."""
    remote = hub.files(repo, head)
    _refuse_foreign(repo, remote)
    stale = [path for path in remote if path not in {*files, _KEPT}]
    if not stale and _holds(remote, files):
        return head
    marker = f"orchestrator {tag}, on {head}"
    size_bytes = sum(file.stat().st_size for file in files.values())
    with reporter.transfer("publishing", size_bytes) as moved:
        return hub.sent_or_found(
            repo,
            marker,
            lambda: hub.commit(
                repo,
                files,
                message=f"Publish rows of {request.spec.name}",
                description=marker,
                parent_commit=head,
                delete=stale,
                progress=moved,
            ),
        )


def _read_back(
    repo: str,
    revision: str,
    files: Mapping[str, Path],
    digests: Mapping[str, str],
    hub: HubTrees,
    reporter: Reporter,
) -> None:
    """Raise `Corrupt` unless the revision serves these files, byte for byte."""
    sizes = {path: file.stat().st_size for path, file in files.items()}
    with reporter.transfer("reading back", sum(sizes.values())) as moved:
        wrong = [
            path
            for path in files
            if not hub.serves(
                repo, revision, RemoteFile(path, sizes[path], digests[path], None), moved
            )
        ]
    if wrong:
        raise Corrupt(
            f"{repo} at {revision[:12]} serves other bytes than ours: {', '.join(wrong)}",
            hint="Run the same command again; if it fails again, what the Hub holds is damaged.",
        )


def _is_tagged(repo: str, tag: str, files: Mapping[str, Path], hub: HubTrees) -> bool:
    """Whether this very content was tagged before: it may have been replaced meanwhile."""
    commit = hub.tags(repo).get(tag)
    return commit is not None and _holds(hub.files(repo, commit), files)


def _holds(remote: Mapping[str, RemoteFile], files: Mapping[str, Path]) -> bool:
    return all(path in remote and remote[path].same_as(file) for path, file in files.items())


def _check_unchanged(prepared: PreparedData, rows: Mapping[str, Path]) -> None:
    """Raise unless what was searched, and is told of, is what was prepared."""
    for split in prepared.summary.splits:
        file = rows.get(_path(split.name))
        if file is not None and sha256_file(file) != split.sha256:
            raise InputError(
                f"{file} was changed since it was prepared",
                hint="Run the same command again: it prepares the rows anew.",
            )


def _card(request: DataRequest, repo: str, rows: Mapping[str, Path]) -> DataCard:
    paths = {split: _path(split) for split in request.splits if _path(split) in rows}
    return DataCard(
        spec=request.spec,
        summary=request.prepared.summary,
        splits=tuple(paths),
        paths=paths,
        repo=repo,
        licence=request.licence,
    )


def _path(split: SplitName) -> str:
    return f"data/{split}.jsonl"


def _tag(card: DataCard, files: Mapping[str, Path]) -> str:
    """Named by all that is published: the same content always has the same tag."""
    digests = {path: sha256_file(file) for path, file in files.items() if path != CARD}
    told = json.dumps([sorted(digests.items()), data_card(card, "")])
    return f"rows-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _check_visibility(repo: str, hub: HubTrees, *, private: bool) -> None:
    """Raise unless the repo is absent, or as visible as was asked for: it is never changed."""
    is_private = hub.is_private(repo)
    if is_private is False and private:
        raise InputError(
            f"the dataset {repo} is public: everybody would see the rows",
            hint="Make it private in its settings on the Hub, name another one, or say --public.",
        )
    if is_private and not private:
        raise InputError(
            f"the dataset {repo} is private, and --public does not change what is there",
            hint="Make it public in its settings on the Hub, or leave --public out.",
        )


def _refuse_foreign(repo: str, remote: Mapping[str, RemoteFile]) -> None:
    """Raise unless the repo is empty, or holds rows that were published so, and nothing else."""
    ours = {CARD, SUMMARY, *(_path(split) for split in SPLITS)}
    names = remote.keys() - {_KEPT}
    foreign = sorted(names - ours) or (sorted(names) if names and SUMMARY not in names else [])
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise InputError(
            f"the dataset {repo} holds other things ({', '.join(foreign[:3])}{more}): "
            "nothing is replaced",
            hint="Name a new repo, or one that only this command has filled.",
        )
