"""Which files hold the rows, by the spec and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.data_addresses import (
    BucketAddress,
    DatasetAddress,
    RemoteAddress,
    RemoteRows,
    parse_address,
)
from orchestrator.data_rules import resolve_files
from orchestrator.data_sources import resolve_source
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import Ambiguous, InputError, NotFound, OrchestratorError
from tests.fetching_bench import ROWS, spec_with
from tests.router_spec import SPEC

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Shelf:
    """A network with three files under any address."""

    folder: Path
    brought: list[str] = field(default_factory=list)
    head: str | None = COMMIT

    def commit(self, address: DatasetAddress) -> str | None:
        return self.head

    def find(self, address: RemoteAddress) -> tuple[RemoteRows, ...]:
        version = "7" if isinstance(address, BucketAddress) else str(address.revision)
        return tuple(
            RemoteRows(address, f"data/{n}.jsonl", version, 3, "sha256", n * 64) for n in "abc"
        )

    def bring(self, rows: RemoteRows) -> Path:
        self.brought.append(rows.path)
        return self.folder / rows.path


def caught(call: object) -> InputError:
    with pytest.raises(InputError) as error:
        call()  # type: ignore[operator]  # a lambda of each test
    return error.value


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gs://bucket/a/b.jsonl", BucketAddress("bucket", "a/b.jsonl")),
        ("gs://bucket/a//b*.jsonl", BucketAddress("bucket", "a//b*.jsonl")),
        ("gs://bucket/a#17", BucketAddress("bucket", "a", 17)),
        ("gs://bucket/a#b", BucketAddress("bucket", "a#b")),
        ("hf://datasets/o/n/f.csv", DatasetAddress("o/n", "f.csv")),
        ("hf://datasets/o/n@main/d/*.csv", DatasetAddress("o/n", "d/*.csv", "main")),
        ("hf://datasets/o/n@refs%2Fpr%2F1/f", DatasetAddress("o/n", "f", "refs/pr/1")),
        ("rows.jsonl", None),
        ("folder/gs://x", None),
    ],
)
def test_an_address_is_read(text: str, address: RemoteAddress | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("gs://", "gs://bucket", "gs://bucket/", "gs://bucket/folder/", "hf://", "hf://o/n/f"),
        *("hf://datasets/o", "hf://datasets/o/n", "hf://datasets/o/n@main/"),
        "hf://datasets/o/n@main/../x",
    ],
)
def test_an_address_that_names_no_file_is_refused_with_its_form(text: str, tmp_path: Path) -> None:
    error = caught(lambda: resolve_source(spec_with(tmp_path, f'  path: "{text}"')))
    assert text in error.message
    assert "Write it as" in error.hint
    assert str(error.where).startswith("spec.yaml:")


def test_the_command_line_goes_before_the_spec(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  path: own.jsonl")
    assert resolve_files(loaded, Path("other.jsonl")) == (
        RowsFile(Path("other.jsonl"), "other.jsonl"),
    )
    assert resolve_files(loaded, Path("/dev/stdin"))[0].path == Path("/dev/stdin")


def test_a_file_of_the_spec_lies_beside_it_and_has_its_label(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  path: own.jsonl")
    (tmp_path / "own.jsonl").touch()
    (found,) = resolve_files(loaded, label=lambda file: f"(shipped) {file.name}")
    assert found == RowsFile(tmp_path / "own.jsonl", "(shipped) own.jsonl")


def test_each_split_has_its_file(tmp_path: Path) -> None:
    data = "  split:\n    files:\n      train: a.jsonl\n      test: b.jsonl"
    loaded = spec_with(tmp_path, data)
    (tmp_path / "a.jsonl").touch()
    error = caught(lambda: resolve_files(loaded))
    assert "b.jsonl" in error.message
    line = Path(tmp_path / "spec.yaml").read_text().splitlines().index("      test: b.jsonl") + 1
    assert error.where is not None
    assert error.where.line == line
    (tmp_path / "b.jsonl").touch()
    assert [(f.path.name, f.split) for f in resolve_files(loaded)] == [
        ("a.jsonl", "train"),
        ("b.jsonl", "test"),
    ]
    assert "--data" in caught(lambda: resolve_files(loaded, Path("x.jsonl"))).message


def test_rows_that_are_named_twice_or_not_at_all_are_refused(tmp_path: Path) -> None:
    both = spec_with(tmp_path, "  path: a\n  split:\n    files:\n      train: b")
    assert "twice" in caught(lambda: resolve_files(both)).message
    none = spec_with(tmp_path, "  answer: text")
    assert "names no data" in caught(lambda: resolve_files(none)).message


def test_what_is_no_file_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, said in (("absent.jsonl", "there is no file"), ("folder", "is a folder")):
        error = caught(lambda name=name: resolve_files(spec_with(tmp_path, f"  path: {name}")))
        assert said in error.message
        assert error.where is not None
    long = "x" * 300
    assert (
        "cannot read"
        in caught(lambda: resolve_files(spec_with(tmp_path, f"  path: {long}"))).message
    )


def test_a_pattern_of_local_files_is_taken_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt", "odd[1].jsonl"):
        (tmp_path / name).touch()
    found = resolve_files(spec_with(tmp_path, '  path: "?.jsonl"'))
    assert [file.path.name for file in found] == ["a.jsonl", "b.jsonl"]
    found = resolve_files(spec_with(tmp_path, '  path: "odd[1].jsonl"'))
    assert [file.path.name for file in found] == ["odd[1].jsonl"]


def test_a_file_of_the_network_comes_only_when_its_turn_comes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    loaded = spec_with(tmp_path, f'  path: "hf://datasets/o/n@{COMMIT}/data/*.jsonl"')
    source = resolve_source(loaded, fetch=shelf)
    assert shelf.brought == []
    files = source.iter_files()
    first = next(files)
    assert first.name == "hf://datasets/o/n@0123456/data/a.jsonl"
    assert shelf.brought == ["data/a.jsonl"]
    assert source.parts[0].remote is not None
    assert source.parts[0].remote.identity == "sha256:" + "a" * 64


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", "@0123456"])
def test_a_revision_that_may_move_is_refused_with_the_commit_to_pin(
    revision: str, tmp_path: Path
) -> None:
    loaded = spec_with(tmp_path, f'  path: "hf://datasets/o/n{revision}/f.csv"')
    error = caught(lambda: resolve_source(loaded, fetch=Shelf(tmp_path)))
    assert "repeatable" in error.message
    assert f"hf://datasets/o/n@{COMMIT}/f.csv" in error.hint
    assert error.where is not None
    offline = caught(lambda: resolve_source(loaded, fetch=Shelf(tmp_path, head=None)))
    assert "offline" in offline.message


def test_on_the_command_line_the_newest_commit_is_taken(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  path: own.jsonl")
    found = resolve_source(loaded, "hf://datasets/o/n/f.csv", fetch=Shelf(tmp_path)).parts
    assert [part.remote.version for part in found if part.remote] == [COMMIT] * 3


def test_an_address_on_the_command_line_keeps_its_slashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    assert run(["check", str(tmp_path / "spec.yaml"), "--data", "gs://bucket/a//b/"]) == 2
    assert "gs://bucket/a//b/ does not name an object" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "brought"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (99, 3)])
def test_of_a_head_subset_only_the_files_with_its_rows_are_brought(
    rows: int, brought: int, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for name in "abc":
        (tmp_path / f"data/{name}.jsonl").write_bytes(ROWS * 2)
    shelf = Shelf(tmp_path)
    path = f'  path: "hf://datasets/o/n@{COMMIT}/data/*.jsonl"\n'
    loaded = spec_with(tmp_path, f"{path}  subset: {{rows: {rows}, by: head}}")
    assert len(resolve_files(loaded, fetch=shelf)) == brought
    assert len(shelf.brought) == brought
    drawn = spec_with(tmp_path, f"{path}  subset: {{rows: {rows}}}")
    assert len(resolve_files(drawn, fetch=shelf)) == 3


@pytest.mark.parametrize("error", [NotFound("it is gone"), Ambiguous("nobody answers")])
def test_what_the_network_says_names_the_field_that_led_to_it(
    error: OrchestratorError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Shelf, asked: object) -> None:
        raise error

    path = f"hf://datasets/o/n@{COMMIT}/f.csv"
    loaded = spec_with(tmp_path, f"  path: {path}")
    for method in ("find", "bring"):
        error.where = None
        monkeypatch.setattr(Shelf, method, fails)
        with pytest.raises(type(error)) as caught_error:
            resolve_files(loaded, fetch=Shelf(tmp_path))
        assert str(caught_error.value.where).startswith("spec.yaml:")
        monkeypatch.undo()
    error.where = None
    monkeypatch.setattr(Shelf, "find", fails)
    with pytest.raises(type(error)) as caught_error:
        resolve_files(loaded, path, fetch=Shelf(tmp_path))
    assert caught_error.value.where is None
