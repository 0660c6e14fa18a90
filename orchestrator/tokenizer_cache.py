"""The tokenizers of models: from what was fetched before, from the Hub's own cache, from the Hub.

A tokenizer that cannot be had is no error: tokens are then estimated, and people told why.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous, InputError, NotFound, OrchestratorError
from orchestrator.progress import SILENT, Reporter
from orchestrator.settings import Settings
from orchestrator.token_rules import FoundTokenizer
from orchestrator.written_files import write_whole

if TYPE_CHECKING:
    from orchestrator.stores.hub_files import HubFiles

#: What makes a tokenizer; all but the first may be missing.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "config.json",
)
#: A model whose tokenizer could not be had is asked for again after this.
ASK_AGAIN_AFTER = timedelta(days=1)
#: The same where nobody answered: networks come back sooner than minds change.
ASK_AGAIN_UNANSWERED_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class _Refusal:
    """Why a tokenizer could not be fetched, and when; `with_token` as whom it was asked for."""

    at: datetime
    endpoint: str
    with_token: bool
    reason: str
    unanswered: bool


class TokenizerCache:
    """Implements `token_rules.Tokenizers`. `hub` None, or `offline`, keeps it off the network."""

    def __init__(
        self,
        settings: Settings,
        hub: Callable[[], HubFiles] | None,
        *,
        offline: bool = False,
        reporter: Reporter = SILENT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._settings = settings
        self._hub = None if offline or settings.offline else hub
        self._reporter = reporter
        self._clock = clock
        self._root = settings.cache_dir / "tokenizers"

    def find(self, repo: str, revision: str) -> FoundTokenizer:
        """The tokenizer of a model; raises `NotFound` if the Hub shows no such model or revision.

        What is here is taken as it is, so that the same machine counts alike every day.
        """
        here = self._fetched(repo, revision) or self._in_hub_cache(repo, revision)
        if here is not None:
            return here
        get_it = _how_to_get(repo, revision)
        if self._hub is None:
            return FoundTokenizer(
                None, missing=f"the tokenizer of {repo} is not on this machine; {get_it}"
            )
        refusal = self._refusal(repo, revision)
        if refusal is not None:
            return FoundTokenizer(None, missing=f"{refusal.reason}; {get_it}")
        try:
            with self._reporter.waiting(f"for the tokenizer of {repo}"):
                return self._fetch(self._hub(), repo, revision)
        except NotFound:
            raise
        except OrchestratorError as error:
            reason = f"{error.message} ({error.hint.rstrip('.')})" if error.hint else error.message
            self._remember(repo, revision, reason, unanswered=isinstance(error, Ambiguous))
            return FoundTokenizer(None, missing=f"{reason}; {get_it}")

    def _fetched(self, repo: str, revision: str) -> FoundTokenizer | None:
        """What was fetched before, for this revision."""
        commit = _read_text(self._ref(repo, revision)) or revision
        folder = self._folder(repo) / commit
        if not (folder / "tokenizer.json").is_file():
            return None
        return FoundTokenizer(folder, f"the tokenizer of {repo} at {commit[:7]}")

    def _in_hub_cache(self, repo: str, revision: str) -> FoundTokenizer | None:
        """What the Hub's own tools have fetched; they keep a link to each file per commit."""
        if self._settings.hub_cache is None:
            return None
        model = self._settings.hub_cache / f"models--{repo.replace('/', '--')}"
        commit = _read_text(model / "refs" / revision) or revision
        folder = model / "snapshots" / commit
        # Without its configuration nobody knows which tokens open and close a text.
        if not all((folder / name).is_file() for name in TOKENIZER_FILES[:2]):
            return None
        return FoundTokenizer(
            folder, f"the tokenizer of {repo} at {commit[:7]}, from the Hub's cache"
        )

    def _fetch(self, hub: HubFiles, repo: str, revision: str) -> FoundTokenizer:
        from orchestrator.stores.checked import local_errors

        commit = hub.commit("model", repo, revision)
        files = hub.described("model", repo, commit, TOKENIZER_FILES)
        if TOKENIZER_FILES[0] not in files:
            raise OrchestratorError(f"{repo} has no {TOKENIZER_FILES[0]}")
        home = self._folder(repo)
        with local_errors(home):
            home.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".fetched-", dir=home))
        total_bytes = sum(file.size_bytes for file in files.values())
        try:
            with self._reporter.transfer(f"the tokenizer of {repo}", total_bytes) as moved:
                for name, file in files.items():
                    hub.fetch("model", repo, commit, file, draft / name, moved)
            with local_errors(home / commit):
                _publish(draft, home / commit)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if revision != commit:
            write_whole(self._ref(repo, revision), commit.encode())
        return FoundTokenizer(home / commit, f"the tokenizer of {repo} at {commit[:7]}")

    def _refusal(self, repo: str, revision: str) -> _Refusal | None:
        """The last refusal, if it is of today and of the same Hub and the same kind of caller."""
        text = _read_text(self._refused(repo, revision))
        try:
            known = json.loads(text or "null")
            found = _Refusal(**{**known, "at": datetime.fromisoformat(known["at"])})
            age = self._clock.now() - found.at
        except (TypeError, ValueError, KeyError):  # none, or damaged: ask again
            return None
        same = (found.endpoint, found.with_token) == self._asking()
        again_after = ASK_AGAIN_UNANSWERED_AFTER if found.unanswered else ASK_AGAIN_AFTER
        return found if same and timedelta() <= age < again_after else None

    def _remember(self, repo: str, revision: str, reason: str, *, unanswered: bool) -> None:
        endpoint, with_token = self._asking()
        known = {
            "at": self._clock.now().isoformat(),
            "endpoint": endpoint,
            "with_token": with_token,
            "reason": reason,
            "unanswered": unanswered,
        }
        with contextlib.suppress(InputError):  # a home that cannot be written: asked again
            write_whole(self._refused(repo, revision), json.dumps(known).encode())

    def _asking(self) -> tuple[str, bool]:
        return self._settings.hub_endpoint, self._settings.hub_token is not None

    def _folder(self, repo: str) -> Path:
        return self._root / repo.replace("/", "--")

    def _ref(self, repo: str, revision: str) -> Path:
        return self._folder(repo) / "refs" / revision.replace("/", "--")

    def _refused(self, repo: str, revision: str) -> Path:
        return self._folder(repo) / "refused" / f"{revision.replace('/', '--')}.json"


def _how_to_get(repo: str, revision: str) -> str:
    at = "" if revision == "main" else f" --revision {revision}"
    return f"get it once: hf download {repo} {TOKENIZER_FILES[0]} {TOKENIZER_FILES[1]}{at}"


def _publish(draft: Path, folder: Path) -> None:
    """Give a whole folder its name; another process may have been faster."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / TOKENIZER_FILES[0]).is_file():
            raise


def _read_text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None
