"""Writes what a training or a prediction would have left, at once and without a model.

Run as a script in the place of `sft.py` or `generate.py`, with their arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.sandbox.standins.base import StandInOptions, TrainingJob
from orchestrator.sandbox.standins.layout import CHECKPOINTS, log_file
from orchestrator.sandbox.standins.replay import ReplayStandIn


def main(argv: Sequence[str]) -> None:
    """Write the canned output of whichever script has these arguments."""
    given = _arguments(argv)
    given.output.mkdir(parents=True, exist_ok=True)
    if given.train is not None:
        _train(given)
    elif given.rows is not None:
        _predict(given)
    else:
        raise SystemExit("replay_script.py: neither --train nor --rows was given")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replay_script.py", allow_abbrev=False)
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--base-model-name")
    parser.add_argument("--output", type=Path, required=True)
    for name in ("--train", "--validation", "--rows"):
        parser.add_argument(name, type=Path)
    for name, default in (("--epochs", 3), ("--rank", 16), ("--batch-size", 8), ("--seed", 42)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--limit", type=int)
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


def _predict(given: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in _lines(given.rows)]
    rows = rows if given.limit is None else rows[: given.limit]
    with (given.output / "predictions.jsonl").open("w", encoding="utf-8") as out:
        for number, row in enumerate(rows):
            out.write(json.dumps(_prediction(number, row), ensure_ascii=False) + "\n")
    _say({"event": "end", "rows": len(rows), "canned": True})


def _prediction(number: int, row: dict[str, Any]) -> dict[str, Any]:
    asked = {"prompt": row.get("prompt"), "tools": row.get("tools")}
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = row.get("completion")
    return {
        "row": number,
        "prompt_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "expected": expected,
        "predicted": expected,
        "raw": expected if isinstance(expected, str) else json.dumps(expected),
        "prompt_tokens": 0,
        "new_tokens": 0,
        "stopped_by": "canned",
        "latency_s": 0.0,
    }


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from (line for line in lines if line.strip())


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
