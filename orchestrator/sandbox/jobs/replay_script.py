"""Writes what a training would have left, at once and without a model.

Run as a script in the place of `sft.py`, with its arguments.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.sandbox.standins.base import StandInOptions, TrainingJob
from orchestrator.sandbox.standins.layout import CHECKPOINTS, log_file
from orchestrator.sandbox.standins.replay import ReplayStandIn


def main(argv: Sequence[str]) -> None:
    """Write the canned output of the training that has these arguments."""
    given = _arguments(argv)
    given.output.mkdir(parents=True, exist_ok=True)
    if given.train is not None:
        _train(given)
    else:
        raise SystemExit("replay_script.py: --train was not given")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replay_script.py", allow_abbrev=False)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--base-model-name")
    parser.add_argument("--output", type=Path, required=True)
    for name in ("--train", "--validation"):
        parser.add_argument(name, type=Path)
    for name, default in (("--epochs", 3), ("--rank", 16), ("--batch-size", 8), ("--seed", 42)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    # All else would change how it is done, and nothing is done.
    return parser.parse_known_args(argv)[0]


def _train(given: argparse.Namespace) -> None:
    name = given.base_model_name or given.base_model
    job = TrainingJob(
        job_id="replay",
        base_model=name,
        hub_id=name,
        train=given.train,
        validation=given.validation,
        epochs=given.epochs,
        learning_rate=given.learning_rate,
        adapter_rank=given.rank,
        seed=given.seed,
    )
    options = StandInOptions(batch_size=given.batch_size, seed=given.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ReplayStandIn().train(job, work, options=options, cancelled=lambda: False)
        for line in log_file(work).read_text(encoding="utf-8").splitlines():
            _say(json.loads(line))
        made = sorted((work / CHECKPOINTS).iterdir(), key=_step)
        for checkpoint in made:
            shutil.copytree(checkpoint, given.output / checkpoint.name, dirs_exist_ok=True)
            if checkpoint.name != "final":
                _say({"event": "checkpoint", "step": _step(checkpoint), "folder": checkpoint.name})
    last = max((_step(one) for one in made), default=0)
    _say({"event": "end", "step": last, "canned": True})


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
