"""The patterns of `.gitignore` and `.gitattributes`, judged by git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.sandbox.hub.git import attributes_want_lfs
from orchestrator.sandbox.hub.patterns import ignored

PATHS = [
    "a.txt",
    "b.log",
    "build/x.o",
    "d/a.txt",
    "d/build/y",
    "d/e/f.log",
    "keep.log",
    "sp ace.bin",
    "w1.bin",
    "w2.bin",
    "wx.bin",
    "#hash",
    "!bang",
    "a/b/c/d",
]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str, text: str = "") -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        [str(shutil.which("git")), *words],
        cwd=folder,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    git(folder, "init", "-q")
    return folder


def git_ignores(folder: Path, rules: str) -> set[str]:
    (folder / ".gitignore").write_text(rules)
    listed = git(folder, "check-ignore", "--no-index", "--stdin", "-z", text="\0".join(PATHS))
    return set(listed.split("\0")) - {""}


def git_sends_to_lfs(folder: Path, attributes: str) -> set[str]:
    (folder / ".gitattributes").write_text(attributes)
    said = git(folder, "check-attr", "--stdin", "-z", "filter", text="\0".join(PATHS)).split("\0")
    return {path for path, value in zip(said[::3], said[2::3], strict=False) if value == "lfs"}


@needs_git
@pytest.mark.parametrize(
    "rules",
    [
        "*.log\n!keep.log\n",
        "build/\n",
        "/build\n",
        "build\n!build/x.o\n",
        "d/**/f.log\n**/a.txt\n",
        "d/*\n!d/a.txt\n",
        "a/**\n",
        "a/**/d\n",
        "**/build/**\n",
        "w[0-9].bin\n",
        "w[!0-9].bin\n",
        "w?.bin\n",
        "\\#hash\n\\!bang\n",
        "# a comment\n\nsp ace.bin   \n",
        "sp[[:space:]]ace.bin\n",
        "d\n",
        "*\n!*.txt\n",
        "*.txt   \n",
        "*//\n",
        "***/d\n",
    ],
    ids=range(20),
)
def test_what_is_ignored_is_what_git_ignores(folder: Path, rules: str) -> None:
    ours = {path for path in PATHS if ignored(path, rules)}
    assert ours == git_ignores(folder, rules)


@needs_git
@pytest.mark.parametrize(
    "lines",
    [
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        "d/** filter=lfs\n",
        "*.txt filter=lfs\nd/a.txt -filter\n",
        "w[12].bin filter=lfs\n",
        "sp[[:space:]]ace.bin filter=lfs\n",
        "a/**/d filter=lfs\n",
        "/a.txt filter=lfs\n",
        "/** filter=lfs\n",
        "# *.bin filter=lfs\n",
    ],
    ids=range(9),
)
def test_what_goes_to_lfs_is_what_git_sends_there(folder: Path, lines: str) -> None:
    ours = {path for path in PATHS if attributes_want_lfs(path, lines)}
    assert ours == git_sends_to_lfs(folder, lines)


PIECES = ["*", "**", "?", "a", "b", "d", "w", ".", "/", "log", "txt", "build", "[a-d]", "!", "x"]
RULES = st.lists(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join), min_size=1, max_size=3
).map("\n".join)


@needs_git
@settings(max_examples=60)
@given(rules=RULES)
def test_rules_of_every_shape_are_read_as_git_reads_them(folder: Path, rules: str) -> None:
    ours = {path for path in PATHS if ignored(path, rules)}
    assert ours == git_ignores(folder, rules), rules


def test_a_pattern_that_is_none_matches_nothing() -> None:
    assert not ignored("a.txt", "[z-a]\n")
    assert not ignored("a.txt", "")
