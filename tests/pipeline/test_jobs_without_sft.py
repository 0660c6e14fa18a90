"""Without the training script nothing is trained: only what trains nothing is still rehearsed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plans import JOBS, ROUTER
from tests.test_architecture import PACKAGE


@pytest.fixture(scope="module")
def maimed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program whose `training/sft.py` is gone."""
    root = tmp_path_factory.mktemp("maimed")
    leave = shutil.ignore_patterns("__pycache__", "sft.py")
    shutil.copytree(PACKAGE, root / "orchestrator", ignore=leave)
    for name in ("jobs", "schemas"):
        shutil.copytree(PACKAGE.parent / name, root / name)
    return root


def rehearse(root: Path, spec: Path, stand_in: str, home: Path) -> subprocess.CompletedProcess[str]:
    named = str(spec.relative_to(PACKAGE.parent))
    # As few rows as its gates can be passed with.
    options = ["--limit", "20" if spec == ROUTER else "40", "--stand-in", stand_in]
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "rehearse", named, *options],
        cwd=root,  # so the copy is what is imported
        env={**os.environ, "ORCHESTRATOR_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_canned_rehearsal_needs_no_training_script(maimed: Path, tmp_path: Path) -> None:
    done = rehearse(maimed, ROUTER, "replay", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "PUBLISHED" in done.stdout


@pytest.mark.training
@pytest.mark.slow
def test_a_training_on_vertex_fails(maimed: Path, tmp_path: Path) -> None:
    done = rehearse(maimed, ROUTER, "tiny", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "sft.py" in done.stdout + done.stderr
    assert "FAILED" in done.stdout


def test_a_job_s_keeper_refuses_to_run_what_is_not_there(maimed: Path, tmp_path: Path) -> None:
    done = rehearse(maimed, JOBS, "replay", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "sft.py: there is no such script beside job.py" in done.stdout + done.stderr


@pytest.mark.training
@pytest.mark.slow
def test_a_training_on_jobs_fails(maimed: Path, tmp_path: Path) -> None:
    done = rehearse(maimed, JOBS, "tiny", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "sft.py: there is no such script beside job.py" in done.stdout + done.stderr
