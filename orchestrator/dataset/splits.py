"""The seeded shuffle and the splits, the same on every machine and in every Python.

The order of rows is that of a hash of seed and row, not that of a random generator: it does not
depend on the implementation of one, and adding a row leaves the others in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import orjson

from orchestrator.dataset.jsonl import Row

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """The rows of one split as the bytes that the service reads: JSONL, one object a line."""

    name: str
    lines: tuple[bytes, ...]

    @property
    def characters(self) -> int:
        """The characters of all prompts and completions."""
        return sum(map(line_characters, self.lines))

    @property
    def content(self) -> bytes:
        """The whole file."""
        return b"".join(self.lines)


def prompt_completion_line(row: Row) -> bytes:
    """A row as the service takes it: the two fields and nothing else."""
    pair = {"prompt": row.value["prompt"], "completion": row.value["completion"]}
    return orjson.dumps(pair) + b"\n"


def shuffled(lines: Sequence[bytes], seed: int) -> list[bytes]:
    """The lines in the seeded order; equal lines keep their number."""
    seen: dict[bytes, int] = {}

    def key(line: bytes) -> bytes:
        number = seen.get(line, 0)
        seen[line] = number + 1
        return hashlib.sha256(b"%d\0%d\0%s" % (seed, number, line)).digest()

    return [line for _, line in sorted((key(line), line) for line in lines)]


def split_counts(rows: int, ratios: Sequence[float]) -> list[int]:
    """Whole numbers of rows that add up to `rows` (largest remainders first, then in order)."""
    # As decimals, the way people wrote them: in binary 50 × 0.07 is more than 3.5.
    exact = [rows * Fraction(str(ratio)) for ratio in ratios]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(ratios)), key=lambda i: (counts[i] - exact[i], i))
    for index in by_remainder[: rows - sum(counts)]:
        counts[index] += 1
    return counts


def split_rows(
    rows: Sequence[Row], *, seed: int, ratios: Sequence[float], limit: int | None = None
) -> list[Split]:
    """Shuffle, take the first `limit` rows, and cut them into train, validation and test."""
    lines = shuffled([prompt_completion_line(row) for row in rows], seed)[:limit]
    splits: list[Split] = []
    start = 0
    for name, count in zip(SPLITS, split_counts(len(lines), ratios), strict=True):
        splits.append(Split(name, tuple(lines[start : start + count])))
        start += count
    return splits


def line_characters(line: bytes) -> int:
    """The characters of a line's prompt and completion, without the JSON around them."""
    pair = orjson.loads(line)
    return len(pair["prompt"]) + len(pair["completion"])


def write_splits(splits: Sequence[Split], folder: Path) -> dict[str, Path]:
    """Write each split that has rows to `folder`, which must exist; gives the files by name."""
    files: dict[str, Path] = {}
    for split in splits:
        if split.lines:
            files[split.name] = folder / f"{split.name}.jsonl"
            files[split.name].write_bytes(split.content)
    return files
