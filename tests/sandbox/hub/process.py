"""Runs other people's programs against the Hub face, which they know from their environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.sandbox.hub.stage import Stage

#: The token of those who own what the programs work on.
ALICE = "hf_alice"


def environment(stage: Stage, home: Path, token: str | None = ALICE) -> dict[str, str]:
    """What such a program sees; its caches and its token are in `home`."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": stage.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return env | ({"HF_TOKEN": token} if token else {})


def attempt(
    stage: Stage, home: Path, *command: str, token: str | None = ALICE, timeout_s: float = 90
) -> subprocess.CompletedProcess[str]:
    """Run a program, however it ends."""
    return subprocess.run(
        command,
        env=environment(stage, home, token),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def run(stage: Stage, home: Path, *command: str, token: str | None = ALICE) -> str:
    """Run a program that must succeed; returns what it wrote to standard output."""
    done = attempt(stage, home, *command, token=token)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
