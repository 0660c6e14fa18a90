"""Copies of the source tree, to build from: building leaves files behind."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: What a clone holds and nobody makes: everything else in the folder is left by tools and runs.
FOLDERS = ("orchestrator", "schemas", "jobs", "tests", "docs", "benchmarks", "conformance")
FILES = (
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "constraints.txt",
    "dev.py",
    "Makefile",
    "Dockerfile",
    ".dockerignore",
)


def copy_tree(folder: Path) -> None:
    """The sources as a clone would hold them, in a new folder."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
