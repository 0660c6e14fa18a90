"""An environment and the source of a suite, under `.conformance/`, by ordinary pip."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from conformance.suites import Suite

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".conformance"


def prepared(suite: Suite) -> tuple[Path, Path]:
    """The suite's own Python and the folder of its source; made where they are missing."""
    folder = FOLDER / suite.environment
    return _python(folder, suite), _source(FOLDER / "sources", suite)


def _python(folder: Path, suite: Suite) -> Path:
    python = folder / "venv" / "bin" / "python"
    stamp = folder / "installed-from"
    wanted = hashlib.sha256("\n".join((sys.version, *suite.requirements)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    print(f"{suite.environment}: making an environment", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder / "venv", with_pip=True)
    _pip(python, "install", *suite.requirements)
    stamp.write_text(wanted)
    return python


def _source(folder: Path, suite: Suite) -> Path:
    """The unpacked source distribution: wheels leave the tests out."""
    target = folder / suite.source.replace("==", "-")
    if not target.exists():
        downloads = folder / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        name = suite.source.partition("==")[0]
        pip = ("download", "--no-deps", "--no-binary", name, "--dest", str(downloads))
        _pip(Path(sys.executable), *pip, suite.source)
        with tarfile.open(next(downloads.glob("*.tar.gz"))) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        next((folder / "unpacked").iterdir()).rename(target)
    return target


def variables(home: Path) -> dict[str, str]:
    """The variables of a suite's process: no credentials, no settings, a home of its own."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR", "TZ") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PATH": f"{_without_docker()}{os.pathsep}{os.environ['PATH']}",
        "NO_PROXY": "127.0.0.1,localhost",
        "NO_GCE_CHECK": "true",
        "PYTHONPATH": str(Path(__file__).parent),
    }


def _without_docker() -> Path:
    """A folder with a `docker` that does nothing: suites start their own double with it."""
    folder = FOLDER / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "docker"
    command.write_text("#!/bin/sh\nexit 0\n")
    command.chmod(0o755)
    return folder


def _pip(python: Path, *arguments: str) -> None:
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True)
