"""Repositories of the Hub as folders of a job, and paths of the job as local ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.access_requests import check_gate
from orchestrator.sandbox.hub.repos import MAIN, Commit, Repo
from orchestrator.sandbox.hub.wire import Account, entry_missing, repo_missing
from orchestrator.sandbox.jobs.requests import VolumeRequest

#: Where a job may always write; below it every job has a folder of its own.
TEMPORARY = "/tmp"  # noqa: S108 (a path of the job's container, never used as it is)
#: What stands before a path in an argument like `adapter=/tuned`.
_KEY = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Places:
    """Where the paths of a job are on this machine; the longest that fits counts."""

    local: dict[str, Path]

    def rewrite(self, text: str) -> str:
        """An argument or value that is such a path, or `--flag=` or `key=` one, as a local path."""
        flag, equals, value = text.partition("=")
        if equals and (text.startswith("-") or _KEY.fullmatch(flag)):
            return f"{flag}={self._moved(value)}"
        return self._moved(text)

    def path(self, text: str) -> Path:
        """The local file of a path as the job sees it, or as it was rewritten."""
        return Path(self._moved(text))

    def _moved(self, text: str) -> str:
        # What is below a local place was moved before, even where that is below /tmp itself.
        if any(_is_below(text, str(place)) for place in self.local.values()):
            return text
        for mount in sorted(self.local, key=len, reverse=True):
            if _is_below(text, mount):
                return str(self.local[mount]) + text.removeprefix(mount)
        return text


def _is_below(text: str, folder: str) -> bool:
    return text == folder or text.startswith(f"{folder}/")


def check_volumes(hub: HubFace, account: Account, volumes: Sequence[VolumeRequest]) -> None:
    """Refuse volumes that are not there, or not for this account.

    That the service looks when the job is created is assumed.
    """
    for volume in volumes:
        _contents(hub, account, volume)


def mount_all(
    hub: HubFace, account: Account, volumes: Sequence[VolumeRequest], root: Path
) -> dict[str, Path]:
    """Copy each volume into a folder below `root`; returns the folders by their mount paths."""
    mounted = {}
    for number, volume in enumerate(volumes):
        repo, commit, prefix = _contents(hub, account, volume)
        folder = root / str(number)
        folder.mkdir(parents=True)
        for name, entry in commit.files.items():
            if name.startswith(prefix):
                target = folder / name.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                # A copy, for the job is a program of this machine: what is in the Hub must stay.
                shutil.copyfile(hub.repos.content(repo, entry), target)
                target.chmod(0o444)
        for inner in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
            inner.chmod(0o555)
        mounted[volume.mountPath.rstrip("/")] = folder
    return mounted


def _contents(hub: HubFace, account: Account, volume: VolumeRequest) -> tuple[Repo, Commit, str]:
    """The repository, the commit, and the prefix of the paths in it that are to be seen."""
    repo = hub.repos.get(volume.type, volume.source)
    if repo is None or (repo.private and not account.may_read(repo.kind, repo.id)):
        raise repo_missing(account)
    check_gate(hub.repos, repo, account)
    commit = hub.repos.resolve(repo, volume.revision or MAIN)
    prefix = f"{volume.path.strip('/')}/" if volume.path and volume.path.strip("/") else ""
    if prefix and not any(name.startswith(prefix) for name in commit.files):
        raise entry_missing(f"{volume.path} does not exist in {repo.id}")
    return repo, commit, prefix
