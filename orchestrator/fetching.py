"""Brings rows from Cloud Storage and the Hub to this machine: checked, once, and only when used."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.connections import Connections
from orchestrator.data_addresses import BucketAddress, DatasetAddress, RemoteAddress, RemoteRows
from orchestrator.data_sources import Fetch
from orchestrator.endpoints import answers_within, without_user_info
from orchestrator.errors import Ambiguous, InputError, NotFound
from orchestrator.fetched_files import FetchedFiles
from orchestrator.name_patterns import fixed_start, has_wildcard, matches
from orchestrator.progress import SILENT, Reporter
from orchestrator.settings import Settings
from orchestrator.stores.base import StoredObject
from orchestrator.tokenizer_cache import TokenizerCache

_STORAGE = "https://storage.googleapis.com"
_CONNECT_S = 10.0
_ONCE_ONLINE = "Fetch it once without --offline; it is then kept."


class Fetcher(Fetch):
    """Implements `data_sources.Fetch`, with a cache in the home of the settings.

    `offline` (or that of the settings) uses only what is in the cache.
    """

    def __init__(
        self,
        settings: Settings,
        connections: Connections | None = None,
        *,
        offline: bool = False,
        reporter: Reporter = SILENT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._connections = connections or Connections(settings, clock)
        self._storage_endpoint = settings.storage_endpoint
        self._offline = offline or settings.offline
        self._reporter = reporter
        self._cache = FetchedFiles(settings.cache_dir)
        #: Finds the tokenizers of models, as `data_rules.resolve_rules` wants.
        self.tokenizers = TokenizerCache(
            settings,
            lambda: self._connections.hub_files_once,
            offline=self._offline,
            reporter=reporter,
            clock=clock,
        )

    def commit(self, address: DatasetAddress) -> str | None:
        """The commit that an address means now; None offline."""
        if self._offline:
            return None
        hub = self._connections.hub_files
        with self._reporter.waiting(f"for {address}"):
            return hub.commit("dataset", address.repo, address.revision or "main")

    def find(self, address: RemoteAddress) -> tuple[RemoteRows, ...]:
        """The files that an address means, in the order of their names; none if nothing matches.

        A commit never changes, so a dataset is asked about once; a bucket is asked each time.
        """
        known = self._cache.known(address)
        if self._offline:
            if known is None:
                raise InputError(
                    f"offline, and {address} is not on this machine", hint=_ONCE_ONLINE
                )
            return known
        if isinstance(address, DatasetAddress):
            if known:
                return known
            found = self._in_dataset(address)
        else:
            found = self._in_bucket(address)
        if found:
            self._cache.learn(address, found)
        return found

    def bring(self, rows: RemoteRows) -> Path:
        """The file on this machine: from the cache, or fetched."""
        here = self._cache.get(rows)
        if here is not None:
            return here
        if self._offline:
            raise InputError(f"offline, and {rows.name} is not on this machine", hint=_ONCE_ONLINE)
        with self._reporter.transfer(f"fetching {rows.name}", rows.size_bytes) as moved:
            return self._cache.add(rows, self._fetching(rows, moved))

    def _fetching(self, rows: RemoteRows, moved: Callable[[int], None]) -> Callable[[Path], None]:
        if isinstance(rows.address, BucketAddress):
            stored = StoredObject(
                uri=rows.name,
                size_bytes=rows.size_bytes,
                crc32c=rows.checksum,
                generation=int(rows.version),
            )
            return lambda file: self._connections.bucket.get(stored, file, moved)
        from orchestrator.stores.hub import RemoteFile

        repo = rows.address.repo
        lfs = rows.checksum_kind == "sha256"
        remote = RemoteFile(
            path=rows.path,
            size_bytes=rows.size_bytes,
            sha256=rows.checksum if lfs else None,
            git_oid=None if lfs else rows.checksum,
        )
        return lambda file: self._connections.hub_files.fetch(
            "dataset", repo, rows.version, remote, file, moved
        )

    def _in_dataset(self, address: DatasetAddress) -> tuple[RemoteRows, ...]:
        hub, commit = self._connections.hub_files, address.revision or ""
        with self._reporter.waiting(f"for {address}"):
            if has_wildcard(address.path):
                folder = fixed_start(address.path).rpartition("/")[0]
                below = address.path[len(folder) :].lstrip("/")
                files = hub.listed(
                    "dataset", address.repo, commit, folder, recursive="/" in below or "**" in below
                )
                files = {path: one for path, one in files.items() if matches(address.path, path)}
            else:
                files = hub.described("dataset", address.repo, commit, [address.path])
        if not files and not has_wildcard(address.path):
            raise NotFound(
                f"{address} does not exist",
                hint="Check the path: it starts at the root of the dataset.",
            )
        return tuple(
            RemoteRows(
                address=address,
                path=path,
                version=commit,
                size_bytes=one.size_bytes,
                checksum_kind="git" if one.sha256 is None else "sha256",
                checksum=one.sha256 or one.git_oid or "",
            )
            for path, one in sorted(files.items())
        )

    def _in_bucket(self, address: BucketAddress) -> tuple[RemoteRows, ...]:
        self._need_storage()
        bucket, start = self._connections.bucket, f"gs://{address.bucket}/"
        with self._reporter.waiting(f"for {address}"):
            if has_wildcard(address.name):
                listed = bucket.list(start + fixed_start(address.name))
                found = [
                    one
                    for one in listed
                    if matches(address.name, one.uri.removeprefix(start))
                    and not one.uri.endswith("/")
                ]
            else:
                found = [self._object(address, start + address.name)]
        return tuple(
            RemoteRows(
                address=address,
                path=one.uri.removeprefix(start),
                version=str(one.generation),
                size_bytes=one.size_bytes,
                checksum_kind="crc32c",
                checksum=one.crc32c,
            )
            for one in found
        )

    def _need_storage(self) -> None:
        """Raise at once without a network: Google's client would try for two minutes."""
        endpoint = self._storage_endpoint or _STORAGE
        if not answers_within(endpoint, _CONNECT_S):
            raise Ambiguous(
                f"{without_user_info(endpoint)} is not reached",
                hint="Is there a network? What was fetched before is used with --offline.",
            )

    def _object(self, address: BucketAddress, uri: str) -> StoredObject:
        stored = self._connections.bucket.stat(uri)
        if stored is None:
            raise NotFound(
                f"{uri} does not exist, or these credentials may not see it",
                hint="Look: gcloud storage ls -L " + shlex.quote(uri),
            )
        if address.generation not in (None, stored.generation):
            known = self._cache.known(address)
            if known:
                return _stored(known[0])
            raise NotFound(
                f"{uri} is now in generation {stored.generation}, not {address.generation}",
                hint=f"Name that one, or write {uri} alone.",
            )
        return stored


def _stored(rows: RemoteRows) -> StoredObject:
    return StoredObject(rows.name, rows.size_bytes, rows.checksum, int(rows.version))
