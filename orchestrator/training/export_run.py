"""What both exports do around their work: failures with their exit codes, and `export.json`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class BadInput(Exception):
    """The arguments or the model are wrong: exit code 2."""


class ExportFailed(RuntimeError):
    """The export went wrong: exit code 1."""


def write_result(file: Path, kind: str, **figures: Any) -> dict[str, Any]:
    """Write export.json beside an exported file: format, name, bytes, digest, and figures."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    size = file.stat().st_size
    result = {"format": kind, "file": file.name, "bytes": size, "sha256": digest, **figures}
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (file.parent / "export.json").write_text(text, encoding="utf-8")
    return result


def run(script: str, export: Callable[[], dict[str, Any]]) -> int:
    """Export, with one JSON object on standard output; the exit code."""
    stream = sys.stdout
    try:
        # Libraries print what they like; standard output is for the events alone.
        with contextlib.redirect_stdout(sys.stderr):
            result = export()
    except BadInput as error:
        sys.stderr.write(f"{script}: {error}\n")
        return 2
    except (RuntimeError, MemoryError, OSError) as error:
        print(json.dumps({"event": "failed", "message": str(error)}), file=stream, flush=True)
        sys.stderr.write(f"{script}: {error}\n")
        return 1
    print(json.dumps({"event": "end", **result}, ensure_ascii=False), file=stream, flush=True)
    return 0
