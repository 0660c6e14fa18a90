"""The network for rows and tokenizers, set up only if something there is asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data_sources import DatasetAddress, Fetch, RemoteAddress, RemoteRows
from orchestrator.progress import SILENT, Reporter
from orchestrator.settings import Settings
from orchestrator.spec import JobSpec
from orchestrator.token_rules import Tokenizers

if TYPE_CHECKING:
    from orchestrator.fetching import Fetcher


class FetchOnDemand(Fetch):
    """Loads the clients when the first address is asked for: most rows are files."""

    def __init__(
        self, settings: Settings, *, offline: bool = False, reporter: Reporter = SILENT
    ) -> None:
        self._settings = settings
        self._offline = offline
        self._reporter = reporter

    def commit(self, address: DatasetAddress) -> str | None:
        """The commit that an address means now; None offline."""
        return self._fetcher.commit(address)

    def find(self, address: RemoteAddress) -> tuple[RemoteRows, ...]:
        """The files that an address means."""
        return self._fetcher.find(address)

    def bring(self, rows: RemoteRows) -> Path:
        """The file on this machine."""
        return self._fetcher.bring(rows)

    def tokenizers(self, spec: JobSpec) -> Tokenizers:
        """Finds tokenizers: on this machine, and elsewhere only one that the spec names."""
        if spec.tokenizer is not None:
            return self._fetcher.tokenizers
        from orchestrator.tokenizer_cache import TokenizerCache

        return TokenizerCache(self._settings, None, offline=True)

    @functools.cached_property
    def _fetcher(self) -> Fetcher:
        from orchestrator.fetching import Fetcher

        return Fetcher(self._settings, offline=self._offline, reporter=self._reporter)
