"""Where the files of runs are kept on this machine."""

from __future__ import annotations

from pathlib import Path

from orchestrator.settings import Settings


def run_folder(settings: Settings, run_id: str) -> Path:
    """The folder of one run."""
    return settings.runs_dir / run_id
