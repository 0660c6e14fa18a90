"""What is said of a bug: one line, and where its traceback is."""

from __future__ import annotations

import contextlib
import os
import tempfile
import traceback

from orchestrator.endpoints import without_user_info
from orchestrator.errors import OrchestratorError


def report_bug(error: BaseException) -> str:
    """Write the traceback where it can be found; gives the message."""
    # An exception of a client may quote an address, and that may carry a token.
    text = without_user_info("".join(traceback.format_exception(error)))
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    last = without_user_info(last)
    file = _write_log(text)
    details = file if file is not None else f"(no log could be written)\n{text}"
    return f"error: this is a bug of orchestrator: {last}\n  Details: {details}"


def _write_log(text: str) -> str | None:
    """Keep a text under the home folder, or with other temporary files; gives the file."""
    for new_file in (_in_home, _in_temporary_files):
        # The settings may be what is wrong, and a full disk may be the cause of it all.
        with contextlib.suppress(OrchestratorError, OSError):
            descriptor, name = new_file()
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(text)
            return name
    return None


def _in_home() -> tuple[int, str]:
    from orchestrator.settings import Settings

    folder = Settings.from_env().home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(prefix="bug-", suffix=".log", dir=folder)


def _in_temporary_files() -> tuple[int, str]:
    return tempfile.mkstemp(prefix="orchestrator-bug-", suffix=".log")
