"""Prepared rows are found again, made anew when anything changed, and never half written."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator.preparation
from orchestrator.data_rules import resolve_rules
from orchestrator.dataset.preparing.prepared import (
    PREPARATION_VERSION,
    DataError,
    PreparedData,
    read_summary,
)
from orchestrator.dataset.preparing.rows import prepare_rows
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.errors import InputError
from orchestrator.planner import resolve_model
from orchestrator.preparation import KEPT, prepare
from orchestrator.spec import load_spec
from tests.dataset.preparing import pairs, prepared_lines, summary_of, write_rows
from tests.router_spec import changed

TEXT = changed("answer: route-plan", "answer: text")


def rules_of(folder: Path, spec: str = TEXT) -> Rules:
    file = folder / "spec.yaml"
    file.write_text(spec, encoding="utf-8")
    loaded = load_spec(file)
    return resolve_rules(loaded, resolve_model(loaded))


@pytest.fixture
def rows(tmp_path: Path) -> RowsFile:
    return write_rows(tmp_path / "rows.jsonl", pairs(range(60)))


def made_in(tmp_path: Path, rows: RowsFile, spec: str = TEXT, **more: object) -> PreparedData:
    return prepare([rows], rules_of(tmp_path, spec), tmp_path / "home", **more)  # type: ignore[arg-type]  # as the command line does


def test_unchanged_rows_are_prepared_once(tmp_path: Path, rows: RowsFile) -> None:
    first = made_in(tmp_path, rows)
    times = {file: file.stat().st_mtime_ns for file in first.folder.iterdir()}
    again = made_in(tmp_path, rows)
    assert (first.made, again.made) == (True, False)
    assert again.summary == first.summary
    assert {file: file.stat().st_mtime_ns for file in first.folder.iterdir()} == times


def test_the_place_and_the_name_of_the_file_do_not_matter(tmp_path: Path, rows: RowsFile) -> None:
    first = summary_of(made_in(tmp_path, rows, out=tmp_path / "one"))
    moved = tmp_path / "elsewhere" / "other.jsonl"
    moved.parent.mkdir()
    shutil.copy(rows.path, moved)
    other = made_in(moved.parent, RowsFile(moved, "renamed"), out=tmp_path / "two")
    assert summary_of(other) == first
    assert prepared_lines(tmp_path / "one") == prepared_lines(tmp_path / "two")


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        ("seed: 42", "seed: 43"),
        ("train: 0.85, validation: 0.10", "train: 0.8, validation: 0.15"),
        ("answer: text", "answer: text\n  near_duplicates: 0.9"),
        ("answer: text", "answer: text\n  redact: true"),
        ("answer: text", "answer: text\n  subset: {rows: 30}"),
    ],
)
def test_what_decides_in_the_spec_is_noticed(
    tmp_path: Path, rows: RowsFile, found: str, replacement: str
) -> None:
    out = tmp_path / "out"
    first = made_in(tmp_path, rows, out=out)
    again = made_in(tmp_path, rows, TEXT.replace(found, replacement, 1), out=out)
    assert again.made
    assert "changed" in again.why
    assert again.summary.stamp != first.summary.stamp


def test_what_decides_nothing_in_the_spec_is_not(tmp_path: Path, rows: RowsFile) -> None:
    out = tmp_path / "out"
    made_in(tmp_path, rows, out=out)
    assert not made_in(tmp_path, rows, TEXT.replace("epochs: 3", "epochs: 4"), out=out).made


def test_changed_rows_limits_and_versions_are_noticed(
    tmp_path: Path, rows: RowsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    made_in(tmp_path, rows, out=out)
    assert made_in(tmp_path, rows, out=out, limit=20).made
    write_rows(rows.path, pairs(range(61)))
    assert made_in(tmp_path, rows, out=out, limit=20).made
    assert not made_in(tmp_path, rows, out=out, limit=20).made
    newer = PREPARATION_VERSION + 1
    monkeypatch.setattr("orchestrator.dataset.preparing.machinery.PREPARATION_VERSION", newer)
    assert made_in(tmp_path, rows, out=out, limit=20).made


def _append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"{}\n")


@pytest.mark.parametrize("in_cache", [True, False])
@pytest.mark.parametrize(
    ("name", "harm", "why"),
    [
        ("train.jsonl", _append, "train.jsonl was changed"),
        ("validation.jsonl", Path.unlink, "validation.jsonl cannot be read"),
        (
            "summary.json",
            lambda file: file.write_bytes(file.read_bytes().replace(b'"rows": 60', b'"rows": 61')),
            "summary.json was changed",
        ),
    ],
)
def test_damaged_output_is_noticed_and_made_anew(
    tmp_path: Path,
    rows: RowsFile,
    name: str,
    harm: Callable[[Path], object],
    why: str,
    in_cache: bool,
) -> None:
    out = None if in_cache else tmp_path / "out"
    first = made_in(tmp_path, rows, out=out)
    lines = prepared_lines(first.folder)
    harm(first.folder / name)
    again = made_in(tmp_path, rows, out=out)
    assert again.made
    assert again.why.startswith(why)
    assert prepared_lines(again.folder) == lines
    assert not made_in(tmp_path, rows, out=out).made


@pytest.mark.parametrize(
    "files", [{"notes.txt": "mine"}, {"train.jsonl": "mine"}, {"summary.json": "{}"}]
)
def test_a_folder_with_other_things_is_refused_and_left_alone(
    tmp_path: Path, rows: RowsFile, files: dict[str, str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    with pytest.raises(InputError, match="nothing is overwritten"):
        made_in(tmp_path, rows, out=out)
    assert {file.name: file.read_text() for file in out.iterdir()} == files


def test_a_file_for_a_folder_is_refused(tmp_path: Path, rows: RowsFile) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        made_in(tmp_path, rows, out=rows.path)


def test_prepared_rows_with_something_beside_them_are_refused(
    tmp_path: Path, rows: RowsFile
) -> None:
    out = tmp_path / "out"
    made_in(tmp_path, rows, out=out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        made_in(tmp_path, rows, out=out, limit=20)


def test_wrong_rows_leave_no_trace(tmp_path: Path, rows: RowsFile) -> None:
    with rows.path.open("ab") as stream:
        stream.write(b'{"prompt": 1}\n')
    for out in (None, tmp_path / "deep" / "out"):
        with pytest.raises(DataError, match="1 error in 61 rows"):
            made_in(tmp_path, rows, out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "spec.yaml"]


def test_a_failure_while_writing_leaves_what_was_there(
    tmp_path: Path, rows: RowsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    made_in(tmp_path, rows, out=out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "train.jsonl")

    monkeypatch.setattr(orchestrator.preparation, "write_summary", fail)
    with pytest.raises(InputError, match="No space left on device") as caught:
        made_in(tmp_path, rows, out=out, limit=20)
    assert "--out DIR" in caught.value.hint
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("is_removed", [False, True])
def test_rows_that_change_while_they_are_read_are_refused(
    tmp_path: Path, rows: RowsFile, monkeypatch: pytest.MonkeyPatch, is_removed: bool
) -> None:
    real = prepare_rows

    def changing(*args: object, **more: object) -> object:
        written = real(*args, **more)  # type: ignore[arg-type]  # as it was called
        rows.path.unlink() if is_removed else _append(rows.path)
        return written

    monkeypatch.setattr(orchestrator.preparation, "prepare_rows", changing)
    with pytest.raises(InputError, match="changed while it was read"):
        made_in(tmp_path, rows)
    assert not (tmp_path / "home").exists()


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path, rows: RowsFile) -> None:
    given_rules, out = rules_of(tmp_path), tmp_path / "out"
    results: list[PreparedData | BaseException] = []

    def work(limit: int | None, place: Path | None) -> None:
        try:
            found = prepare([rows], given_rules, tmp_path / "home", limit=limit, out=place)
            results.append(found)
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work, args=(None, p)) for p in (None, None, out, out, out)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(result, PreparedData) for result in results), results
    for folder in (out, *(tmp_path / "home" / "prepared").iterdir()):
        assert not prepare([rows], given_rules, tmp_path / "home", out=folder).made
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_killed_preparation_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, rows: RowsFile
) -> None:
    given_rules = rules_of(tmp_path)
    code = (
        "import os, sys, signal; from pathlib import Path\n"
        "import orchestrator.preparation as step\n"
        "from orchestrator.dataset.rules import RowsFile\n"
        "from tests.dataset.test_prepare_step import rules_of\n"
        "step.write_summary = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "folder = Path(sys.argv[1]); file = folder / 'rows.jsonl'\n"
        "step.prepare([RowsFile(file, 'rows.jsonl')], rules_of(folder), folder / 'home')"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -9
    (left,) = (tmp_path / "home" / "prepared").iterdir()
    assert left.name.startswith(".partial-")
    assert read_summary(left) is None
    assert prepare([rows], given_rules, tmp_path / "home").made
    os.utime(left, (0, 0))
    assert prepare([rows], given_rules, tmp_path / "home", limit=20).made
    assert not left.exists()


def test_what_a_killed_preparation_left_beside_its_folder_is_removed(
    tmp_path: Path, rows: RowsFile
) -> None:
    names = (".partial-out-1-ab", ".partial-out-old-x", ".partial-out-2-cd", ".partial-other-1-ab")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").touch()
    for name in (names[0], names[1], names[3]):
        os.utime(tmp_path / name, (0, 0))
    assert made_in(tmp_path, rows, out=tmp_path / "out").made
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert sorted(left) == sorted(names[2:])


def test_only_the_newest_prepared_rows_are_kept(tmp_path: Path, rows: RowsFile) -> None:
    folders = [made_in(tmp_path, rows, limit=limit).folder for limit in range(20, 21 + KEPT)]
    assert all(folder.is_dir() for folder in folders)  # they may be in use
    for age, folder in enumerate(folders):
        os.utime(folder, (1000 - age, 1000 - age))
    newest = made_in(tmp_path, rows, limit=40).folder
    left = set((tmp_path / "home" / "prepared").iterdir())
    assert left == {newest, *folders[: KEPT - 1]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_once_and_its_copy_does_not_stay(tmp_path: Path, rows: RowsFile) -> None:
    first = made_in(tmp_path, rows)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(rows.path.read_bytes(),), daemon=True)
    writer.start()
    again = made_in(tmp_path, RowsFile(pipe, "pipe"))
    writer.join(timeout=10)
    assert (again.made, again.folder) == (False, first.folder)
    assert list((tmp_path / "home" / "prepared").iterdir()) == [first.folder]


def test_a_head_never_asks_for_files_that_it_does_not_need(tmp_path: Path) -> None:
    shards = [write_rows(tmp_path / f"{n}.jsonl", pairs(range(n, n + 20))) for n in (0, 100, 200)]
    asked: list[str] = []

    def files() -> Iterator[RowsFile]:
        for shard in shards:
            asked.append(shard.name)
            yield shard

    spec = TEXT.replace("answer: text", "answer: text\n  subset: {rows: 30, by: head}")
    given_rules = rules_of(tmp_path, spec)
    first = prepare(files(), given_rules, tmp_path / "home")
    assert asked == ["0.jsonl", "100.jsonl"]
    assert len(first.summary.inputs) == 2
    again = prepare(files(), given_rules, tmp_path / "home")
    assert not again.made
    assert asked == ["0.jsonl", "100.jsonl"] * 2
    write_rows(shards[1].path, pairs(range(300, 320)))
    assert prepare(files(), given_rules, tmp_path / "home").made


def test_missing_rows_and_folders_are_named(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "gone.jsonl", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=words):
            made_in(tmp_path, RowsFile(path, str(path)))


def test_private_texts_are_masked_where_the_spec_says_so(tmp_path: Path) -> None:
    private = [
        {"prompt": f"write to jane.roe{n}@corp-mail.org", "completion": f'{{"n": {n}}}'}
        for n in range(20)
    ]
    rows = write_rows(tmp_path / "rows.jsonl", private)
    spec = TEXT.replace("answer: text", "answer: text\n  redact: true")
    prepared = made_in(tmp_path, rows, spec)
    content = b"".join(file.read_bytes() for file in prepared.files.values())
    assert b"jane.roe" not in content
    assert prepared.summary.redacted_rows == 20
    assert b"jane.roe" in b"".join(f.read_bytes() for f in made_in(tmp_path, rows).files.values())


def test_versions_of_what_decides_are_in_the_summary(tmp_path: Path, rows: RowsFile) -> None:
    names = {one.name for one in made_in(tmp_path, rows).summary.versions}
    assert names == {"preparation", "rensa"}
    exact = dataclasses.replace(
        rules_of(tmp_path), data=rules_of(tmp_path).data.model_copy(update={"near_duplicates": 1.0})
    )
    alone = prepare([rows], exact, tmp_path / "home").summary.versions
    assert [one.name for one in alone] == ["preparation"]
