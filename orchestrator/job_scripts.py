"""The scripts that travel into jobs: found as files, never imported here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from orchestrator.digests import sha256_file

_PACKAGE = Path(__file__).parent
#: Beside the scripts in a job, because they parse calls with it.
_CALLS = "calls.py"


def job_scripts() -> dict[str, Path]:
    """Every script and what it needs beside it, by file name."""
    training = sorted((_PACKAGE / "training").glob("*.py"))
    scripts = {file.name: file for file in training if file.name != "__init__.py"}
    return {**scripts, _CALLS: _PACKAGE / _CALLS}


def scripts_digest(scripts: Mapping[str, Path]) -> str:
    """A name for exactly these scripts: SHA-256 over their names and contents."""
    digest = hashlib.sha256()
    for name, file in sorted(scripts.items()):
        digest.update(f"{name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()
