"""A training on the first of its rows alone."""

from __future__ import annotations

import itertools
from pathlib import Path

from orchestrator.digests import sha256_file
from orchestrator.sandbox.jobs.stand_in import Files, value_of, with_value


def with_fewer_rows(
    command: tuple[str, ...], files: Files, count: int | None, folder: Path
) -> tuple[tuple[str, ...], list[str]]:
    """The command with only the first rows of `--train`, and what is told of it."""
    given = value_of(command, "--train")
    if given is None or count is None:
        return command, []
    rows = files(given)
    with rows.open("rb") as lines:
        all_rows = sum(1 for line in lines if line.strip())
    if all_rows <= count:
        return command, []
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{sha256_file(rows)}-{count}.jsonl"
    with rows.open("rb") as lines, target.open("wb") as first:
        first.writelines(itertools.islice((line for line in lines if line.strip()), count))
    return with_value(command, "--train", str(target)), [
        f"training rows: the first {count} of {all_rows}"
    ]
