"""Where there is no jail, it is said why, and nothing runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.jail import available, watching
from orchestrator.jail.available import jail
from orchestrator.jail.running import Jail
from orchestrator.jail.verdicts import JailUnavailable, Outcome, Verdict
from tests.jail.machine import jail_or_skip, open_to_all


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    jail.cache_clear()
    yield
    jail.cache_clear()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with open_to_all() as folder:
        yield folder


def test_the_jail_of_this_machine_holds_and_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = jail_or_skip()
    assert found.run("x = 1", "assert x == 1").passed
    monkeypatch.setattr(available, "_try", lambda _: pytest.fail("tried again"))
    assert jail() is found


def test_without_bubblewrap_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    monkeypatch.setenv("PATH", str(open_folder))
    with pytest.raises(JailUnavailable) as refused:
        jail()
    assert "bubblewrap (bwrap) is not installed; nothing was run" in refused.value.message
    assert "apt-get install bubblewrap" in refused.value.hint
    assert refused.value.exit_code == 2


def test_on_another_system_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(JailUnavailable, match="on Linux alone; nothing was run"):
        jail()


def test_a_kernel_that_cannot_be_watched_has_no_jail(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    _with_bwrap(monkeypatch, open_folder, "exit 0")
    monkeypatch.setattr(watching, "can_watch", lambda: False)
    with pytest.raises(JailUnavailable, match="cannot be watched"):
        jail()


def test_namespaces_that_are_refused_are_told_in_bubblewraps_words(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    _with_bwrap(
        monkeypatch, open_folder, "echo 'bwrap: No permissions to create new namespace' >&2"
    )
    with pytest.raises(JailUnavailable) as refused:
        jail()
    assert "so nothing was run: bwrap: No permissions to create" in refused.value.message
    assert "user namespaces" in refused.value.hint


def test_something_that_is_no_jail_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    mark = open_folder / "ran"
    # It takes all arguments up to `--` and runs the rest without any walls.
    _with_bwrap(
        monkeypatch,
        open_folder,
        f'while [ "$1" != -- ]; do shift; done; shift; touch {mark}.began\nexec "$@"',
    )
    with pytest.raises(JailUnavailable, match="nothing was run"):
        jail()


@pytest.mark.parametrize(
    ("place", "taken"),
    [("bin", False), (".local/bin", False), (".pyenv/versions/3.11/bin", True)],
)
def test_a_python_whose_folder_is_the_users_own_is_not_shown_to_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, taken: bool
) -> None:
    home = tmp_path.resolve()
    python = home / place / "python3"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "_base_executable", str(python))
    assert (python in available._pythons()) is taken


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(Verdict.PASSED, True, stdout=b'["no network", "bounded memory"]'),
         "it lacks: no network, bounded memory"),
        (Outcome(Verdict.RAISED, True, "OSError"), r"could not be tried \(raised OSError\)"),
        (Outcome(Verdict.KILLED, True), r"could not be tried \(killed\)"),
    ],
)  # fmt: skip
def test_a_jail_that_does_not_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path, outcome: Outcome, words: str
) -> None:
    _with_bwrap(monkeypatch, open_folder, "exit 0")
    monkeypatch.setattr(Jail, "run", lambda *_, **__: outcome)
    with pytest.raises(JailUnavailable, match=words):
        jail()


def _with_bwrap(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    bwrap = folder / "bwrap"
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
