"""A training on the first of its rows alone."""

from __future__ import annotations

import itertools
from pathlib import Path

from orchestrator.digests import sha256_file
from orchestrator.sandbox.jobs.stand_in import Files, value_of, with_value

#: For so many training rows, one is looked at in each evaluation: most of a small training's time
#: would otherwise go into its evaluations.
TRAINED_FOR_EVALUATED = 48
_WORDS = {"--train": "training rows", "--validation": "validation rows", "--probe": "probe rows"}


def with_fewer_rows(
    command: tuple[str, ...], files: Files, count: int | None, folder: Path
) -> tuple[tuple[str, ...], list[str]]:
    """The command with only the first rows of its files, and what is told of it.

    `count` is how many rows of `--train` stay; of `--validation` and `--probe` one for every 48.
    """
    if count is None or value_of(command, "--train") is None:
        return command, []
    evaluated = max(1, count // TRAINED_FOR_EVALUATED)
    told: list[str] = []
    for flag, words in _WORDS.items():
        given = value_of(command, flag)
        if given is None:
            continue
        kept = count if flag == "--train" else evaluated
        rows = files(given)
        with rows.open("rb") as lines:
            all_rows = sum(1 for line in lines if line.strip())
        if all_rows > kept:
            target = _first(rows, kept, folder)
            command = with_value(command, flag, str(target))
            told.append(f"{words}: the first {kept} of {all_rows}")
    return command, told


def _first(rows: Path, count: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{sha256_file(rows)}-{count}.jsonl"
    with rows.open("rb") as lines, target.open("wb") as first:
        first.writelines(itertools.islice((line for line in lines if line.strip()), count))
    return target
