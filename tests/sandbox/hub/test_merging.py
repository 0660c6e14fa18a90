"""Merging two changes of a text, held to what git makes of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.sandbox.hub.git import Entry
from orchestrator.sandbox.hub.merging import merge_lines, merge_trees

BASE = b"".join(b"line %d\n" % number for number in range(12))
EDITS = st.lists(
    st.tuples(
        st.integers(0, 11), st.sampled_from(["delete", "change", "insert"]), st.integers(0, 2)
    ),
    max_size=3,
)


def edited(edits: list[tuple[int, str, int]]) -> bytes:
    """The base with some lines deleted, changed or put before another."""
    lines = dict(enumerate(BASE.splitlines(keepends=True)))
    for number, kind, word in edits:
        new = b"new %d %d\n" % (number, word)
        old = b"line %d\n" % number
        lines[number] = {"delete": b"", "change": new, "insert": new + old}[kind]
    return b"".join(lines.values())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=60)
@given(ours=EDITS, theirs=EDITS)
def test_texts_are_merged_as_git_merges_them(
    tmp_path_factory: pytest.TempPathFactory,
    ours: list[tuple[int, str, int]],
    theirs: list[tuple[int, str, int]],
) -> None:
    folder: Path = tmp_path_factory.mktemp("merge")
    texts = {"ours": edited(ours), "base": BASE, "theirs": edited(theirs)}
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    command = ["git", "merge-file", "-p", "ours", "base", "theirs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    expected = done.stdout if done.returncode == 0 else None
    assert merge_lines(BASE, texts["ours"], texts["theirs"]) == expected


def entry(text: str, sha256: str | None = None) -> Entry:
    return Entry(oid=text, size_bytes=len(text), sha256=sha256)


def content(one: Entry) -> bytes:
    return one.oid.encode()


def test_what_one_side_left_alone_is_as_the_other_has_it() -> None:
    base = {name: entry("old") for name in ("kept", "ours", "theirs", "gone", "both-gone")}
    ours = {**base, "ours": entry("new"), "added": entry("a"), "twice": entry("t")}
    theirs = {**base, "theirs": entry("new"), "other": entry("o"), "twice": entry("t")}
    del ours["both-gone"], theirs["both-gone"], theirs["gone"]
    merged = merge_trees(base, ours, theirs, content)
    assert merged.conflicts == ()
    assert merged.files == {
        "kept": entry("old"),
        "ours": entry("new"),
        "theirs": entry("new"),
        "added": entry("a"),
        "other": entry("o"),
        "twice": entry("t"),
    }


def test_large_files_are_never_merged_line_by_line() -> None:
    texts = "1\n2\n3\n4\n", "one\n2\n3\n4\n", "1\n2\n3\nfour\n"
    for sha256, conflicts in ((None, ()), ("1" * 64, ("f",))):
        base, ours, theirs = ({"f": entry(text, sha256)} for text in texts)
        assert merge_trees(base, ours, theirs, content).conflicts == conflicts


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"f": entry("a")}, {}),
        ({}, {"f": entry("a")}),
        ({"f": entry("a", "1" * 64)}, {"f": entry("b", "2" * 64)}),
        ({"f": entry("a\0")}, {"f": entry("b\0")}),
        ({"f": entry("old"), "new": entry("a")}, {"f": entry("old"), "new/file": entry("b")}),
    ],
    ids=["changed-deleted", "deleted-changed", "large", "binary", "file-below-file"],
)
def test_what_cannot_be_both_is_a_conflict(
    ours: dict[str, Entry], theirs: dict[str, Entry]
) -> None:
    merged = merge_trees({"f": entry("old")}, ours, theirs, content)
    assert len(merged.conflicts) == 1
    assert merged.files == {}
