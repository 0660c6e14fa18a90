"""Commands whose streams are closed, or read by nobody, do their work all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.processes import environment

COMMAND = "from orchestrator.cli import main; main()"


def through_the_shell(bench: Bench, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the shell in which `"$@"` is the command line of this program."""
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", COMMAND],  # noqa: S607 (the shell)
        env=environment(bench),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_pass_with_closed_streams_publishes(bench: Bench, closed: str) -> None:
    run = bench.submit_and_train()
    done = through_the_shell(bench, f'"$@" poll {closed}')
    assert done.returncode == 0
    assert bench.pipeline().view(run).status.state is RunState.PUBLISHED
    assert not list((bench.settings.home / "logs").glob("bug-*"))


def test_a_pass_whose_messages_nobody_reads_publishes(bench: Bench) -> None:
    run = bench.submit_and_train()
    read, write = os.pipe()
    os.close(read)
    subprocess.run(
        [sys.executable, "-c", COMMAND, "poll"],
        env=environment(bench),
        stderr=write,
        stdout=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    os.close(write)
    assert bench.pipeline().view(run).status.state is RunState.PUBLISHED


def test_files_do_not_take_the_numbers_of_closed_streams(bench: Bench, tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from orchestrator.cli.session import open_session\n"
        "with open_session():\n"
        "    number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "    sys.exit(0 if number > 2 else 1)\n"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", script, tmp_path / "f"],  # noqa: S607
        env=environment(bench),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
