"""The network for rows and tokenizers, set up only if something there is asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data_addresses import DatasetAddress, RemoteAddress, RemoteRows
from orchestrator.data_sources import Fetch
from orchestrator.progress import SILENT, Reporter
from orchestrator.settings import Settings
from orchestrator.token_rules import Tokenizers

if TYPE_CHECKING:
    from orchestrator.fetching import Fetcher
    from orchestrator.stores.hub_files import HubFiles


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

    @functools.cached_property
    def tokenizers(self) -> Tokenizers:
        """Finds tokenizers: on this machine, or asked for once at the Hub."""
        # Not the fetcher's, which loads the stores for every command that counts tokens.
        from orchestrator.tokenizer_cache import TokenizerCache

        return TokenizerCache(
            self._settings, self._hub_files_once, offline=self._offline, reporter=self._reporter
        )

    def _hub_files_once(self) -> HubFiles:
        from orchestrator.connections import Connections

        return Connections(self._settings).hub_files_once

    @functools.cached_property
    def _fetcher(self) -> Fetcher:
        from orchestrator.fetching import Fetcher

        return Fetcher(self._settings, offline=self._offline, reporter=self._reporter)
