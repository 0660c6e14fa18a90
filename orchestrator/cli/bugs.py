"""What is said of a bug: one line, and where its traceback is."""

from __future__ import annotations

import os
import tempfile
import traceback

from orchestrator.errors import OrchestratorError
from orchestrator.stores.endpoints import without_user_info


def report_bug(error: BaseException) -> str:
    """Write the traceback where it can be found; gives the message."""
    # An exception of a client may quote an address, and that may carry a token.
    text = without_user_info("".join(traceback.format_exception(error)))
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    last = without_user_info(last)
    return f"error: this is a bug of orchestrator: {last}\n  Details: {_write_log(text)}"


def _write_log(text: str) -> str:
    """Keep a text under the home folder, or with other temporary files; gives the file."""
    try:
        from orchestrator.settings import Settings

        folder = Settings.from_env().home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="bug-", suffix=".log", dir=folder)
    except (OrchestratorError, OSError):
        descriptor, name = tempfile.mkstemp(prefix="orchestrator-bug-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
        log.write(text)
    return name
