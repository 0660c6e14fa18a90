"""The report on a file depends neither on where it is cut nor on how many processes check it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.report import Report
from orchestrator.dataset.rules import RowsFile, Rules, TokenRules
from orchestrator.dataset.running.engine import check_files, check_in_parts
from orchestrator.dataset.running.workers import in_order
from orchestrator.errors import InputError, OrchestratorError
from orchestrator.spec import DataBlock

psutil = pytest.importorskip("psutil")
KINDS = ("form", "duplicates")
TOKENS = TokenRules("m", None, None, "none", 0.3, "a guess")


def rules(data: DataBlock | None = None) -> Rules:
    data = data or DataBlock()
    return Rules(data, Path(), (), TOKENS, "vertex", None, "", "error", None, 1)


def row(prompt: str, completion: str = "answer") -> bytes:
    return orjson.dumps({"prompt": prompt, "completion": completion}) + b"\n"


def write(folder: Path, content: bytes, name: str = "rows.jsonl") -> RowsFile:
    (folder / name).write_bytes(content)
    return RowsFile(folder / name, name)


_LINES = st.lists(
    st.sampled_from(
        [
            row("a"),
            row("a", "other"),
            row("b"),
            row("é" * 40),
            row("c", " "),
            b"\n",
            b"  \r\n",
            b'{"prompt": "x", "prompt": "y", "completion": "z"}\n',
            b'{"prompt": "cut\n',
            b'{"prompt": 1}\n',
            b'\xef\xbb\xbf{"prompt": "mark", "completion": "z"}\n',
            b'{"prompt": "\xff", "completion": "z"}\n',
        ]
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(_LINES, st.integers(1, 400), st.booleans())
def test_the_report_of_parts_is_that_of_the_whole_wherever_they_end(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], part_bytes: int, ended: bool
) -> None:
    content = row("first") + b"".join(lines)
    content = content if ended else content.rstrip(b"\n")
    file = write(tmp_path_factory.mktemp("rows"), content)
    whole = check_in_parts([file], rules(), KINDS, part_bytes=1 << 20, workers=1)
    parts = check_in_parts([file], rules(), KINDS, part_bytes=part_bytes, workers=1)
    assert parts == whole
    assert parts.to_json() == whole.to_json()
    assert whole.rows == 1 + sum(bool(line.strip()) for line in lines)


@pytest.fixture
def mixed(tmp_path: Path) -> RowsFile:
    lines = [row(f"p{n % 90}", f"a{n % 40}") for n in range(300)]
    lines[7] = b'{"prompt": "x", "prompt": "y", "completion": "z"}\n'
    lines[-1] = b'{"prompt": "cut'
    return write(tmp_path, b"".join(lines))


def check(file: RowsFile, workers: int, part_bytes: int = 1500) -> Report:
    return check_in_parts([file], rules(), KINDS, part_bytes=part_bytes, workers=workers)


def test_one_two_and_seven_processes_give_the_same_report(mixed: RowsFile) -> None:
    alone = check(mixed, 1, 1 << 20)
    assert alone.rows == 300
    assert {group.code for group in alone.findings} >= {"cut", "duplicate-key"}
    assert check(mixed, 2).to_json() == alone.to_json()
    assert check(mixed, 7).to_json() == alone.to_json()


def test_no_process_is_left_behind(mixed: RowsFile) -> None:
    check(mixed, 2)
    left = [p.cmdline() for p in psutil.Process().children() if p.status() != "zombie"]
    assert not [c for c in left if "spawn_main" in " ".join(c)]


def test_a_bad_row_on_the_last_line_is_found_at_its_line(mixed: RowsFile) -> None:
    found = {group.code: group.examples for group in check(mixed, 2).findings}
    assert [example.place.line for example in found["cut"]] == [300]


def test_a_file_of_blank_lines_holds_no_rows_in_one_part_and_in_many(tmp_path: Path) -> None:
    for content in (b"", b"\n" * 500):
        for part_bytes in (50, 1000):
            with pytest.raises(InputError, match=r"rows\.jsonl holds no rows"):
                check_in_parts(
                    [write(tmp_path, content)], rules(), KINDS, part_bytes=part_bytes, workers=1
                )


def test_lines_are_those_of_their_own_file(tmp_path: Path) -> None:
    first = write(tmp_path, row("a") * 1 + row("b"), "first.jsonl")
    second = write(tmp_path, row("c") + b"broken\n", "second.jsonl")
    for part_bytes in (10, 1000):
        report = check_in_parts([first, second], rules(), KINDS, part_bytes=part_bytes, workers=1)
        (group,) = report.findings
        assert str(group.examples[0].place) == "second.jsonl:2"
        assert report.rows == 4


def test_every_byte_is_told(mixed: RowsFile) -> None:
    size_bytes = mixed.path.stat().st_size
    for workers in (1, 2):
        told: list[int] = []
        check_in_parts(
            [mixed], rules(), KINDS, part_bytes=1500, workers=workers, on_bytes=told.append
        )
        assert sum(told) == size_bytes


def test_an_error_in_the_spec_is_the_same_error_from_a_process(tmp_path: Path) -> None:
    file = write(tmp_path, row("a") * 50)
    wrong = rules(DataBlock(format="./gone.py"))
    messages = set()
    for workers in (1, 2):
        with pytest.raises(InputError) as caught:
            check_in_parts([file], wrong, KINDS, part_bytes=100, workers=workers)
        messages.add((caught.value.message, caught.value.hint))
    assert len(messages) == 1


def test_a_mapped_column_that_no_row_has_is_said_once(tmp_path: Path) -> None:
    file = write(tmp_path, row("a") * 50)
    data = DataBlock.model_validate({"mapping": {"columns": {"prompt": "question"}}})
    with pytest.raises(InputError, match="names `question` for `prompt`, and no row has it"):
        check_files([file], rules(data), KINDS)


def test_a_small_file_starts_no_process(mixed: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.dataset.running.engine.in_order", None)
    assert check_files([mixed], rules(), KINDS).rows == 300


# ---------------------------------------------------------------------------------- processes


def _twice(number: int) -> int:
    if number == 13:
        raise InputError("thirteen", hint="Take another.")
    if number == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def _make() -> object:
    return _twice


def test_results_come_in_the_order_of_the_tasks() -> None:
    make: partial[object] = partial(_make)
    assert list(in_order(range(12), make, 3)) == [2 * n for n in range(12)]  # type: ignore[arg-type]


def test_an_error_of_a_process_and_its_death_are_told_apart() -> None:
    make: partial[object] = partial(_make)
    with pytest.raises(InputError, match="thirteen") as caught:
        list(in_order([1, 13, 2], make, 2))  # type: ignore[arg-type]
    assert caught.value.hint == "Take another."
    with pytest.raises(OrchestratorError, match="signal 9") as died:
        list(in_order([1, 66, 2], make, 2))  # type: ignore[arg-type]
    assert died.value.hint
    # What another test left to be reaped has no command line any more.
    living = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    assert all("spawn_main" not in " ".join(one.cmdline()) for one in living)


_INTERRUPTED = """
import sys
from pathlib import Path
from orchestrator.dataset.running.engine import check_in_parts
from orchestrator.dataset.rules import RowsFile
from tests.dataset.test_engine_parts import KINDS, rules

if __name__ == "__main__":
    def told(size_bytes):
        print("under way", flush=True)
    file = RowsFile(Path(sys.argv[1]), "rows")
    check_in_parts([file], rules(), KINDS, part_bytes=20_000, workers=2, on_bytes=told)
    print("finished", flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_ends_all_processes(tmp_path: Path, by: signal.Signals) -> None:
    file = write(tmp_path, b"".join(row(f"p{n}") for n in range(400_000)))
    script = tmp_path / "script.py"
    script.write_text(_INTERRUPTED, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    with subprocess.Popen(
        [sys.executable, str(script), str(file.path)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"under way\n"
        children = psutil.Process(process.pid).children()
        assert len(children) >= 2
        process.send_signal(by)
        out, _ = process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert b"finished" not in out
    assert process.returncode != 0
