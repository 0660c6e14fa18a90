"""Patterns of names, judged by what pathlib's own patterns find."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.name_patterns import fixed_start, has_wildcard, matches

NAMES = ["a.jsonl", "b.jsonl", "data/a.jsonl", "data/b-00.jsonl", "data/deep/c.jsonl", "data/[x]"]


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.jsonl", "data/*.jsonl", "**/*.jsonl", "data/**/*", "?.jsonl", "data/[ab]*"),
        *("data/[!a]*", "data/b-0[0-9].jsonl", "nothing*", "data/a.jsonl", "[z-a]*", "data/[[]x]"),
    ],
)
def test_a_pattern_finds_what_pathlib_finds(pattern: str, tmp_path: Path) -> None:
    for name in NAMES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = {f.relative_to(tmp_path).as_posix() for f in tmp_path.glob(pattern) if f.is_file()}
    assert {name for name in NAMES if matches(pattern, name)} == found


def test_what_is_before_the_first_wildcard_stays() -> None:
    assert fixed_start("data/part-*.parquet") == "data/part-"
    assert fixed_start("data/all.parquet") == "data/all.parquet"
    assert has_wildcard("a[b]c")
    assert not has_wildcard("plain")
