"""`orchestrator report`: the folder it makes, what it refuses, and what it prints."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import run as orchestrator
from orchestrator.errors import InputError
from orchestrator.report.report_folder import MARKER, need_room, write_report
from tests.report.runs import METRIC, Runs


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_every_run_gets_its_page_and_the_list_leads_to_it(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = runs.add(), runs.evaluated()
    out = tmp_path / "new" / "report"
    assert orchestrator(["report", "--html", str(out)]) == 0
    assert capsys.readouterr().out == f"2 runs in {out / 'index.html'}\n"
    assert names(out) == {"index.html", MARKER, f"{first.id}.html", f"{second.id}.html"}
    index = (out / "index.html").read_text(encoding="utf-8")
    assert index.index(second.id) < index.index(first.id)


def test_programs_are_told_where_everything_is(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.evaluated()
    out = tmp_path / "report"
    assert orchestrator(["report", run.id, "--html", str(out), "--examples", "1", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document["index"] == str(out / "index.html")
    (line,) = document["runs"]
    assert Path(line["page"]).is_file()
    assert (line["run"], line["metric"], line["examples"]) == (run.id, METRIC, 3)
    assert line["gates"] == "1 of 2 passed"
    assert "weak classes" in line["advice"]


def test_runs_are_chosen_by_name_and_limited(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [runs.add() for _ in range(3)]
    out = tmp_path / "report"
    assert orchestrator(["report", made[0].id, made[0].id, "--html", str(out)]) == 0
    assert names(out) == {"index.html", MARKER, f"{made[0].id}.html"}
    assert orchestrator(["report", "--limit", "2", "--html", str(out)]) == 0
    # The page of the earlier report is gone, and the newest two are there.
    assert names(out) == {"index.html", MARKER, f"{made[1].id}.html", f"{made[2].id}.html"}
    assert "1 older run" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_named_and_nothing_is_made(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add()
    assert orchestrator(["report", "nope", "--html", str(tmp_path / "report")]) == 2
    assert "there is no run nope" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_without_runs_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator(["report", "--html", str(tmp_path / "report")]) == 2
    assert "there is no run to show" in capsys.readouterr().err


def test_a_folder_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator(["report"]) == 2
    assert "--html" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["mine", '{"made_by": "somebody"}', "[" * 9])
def test_a_folder_with_other_things_is_left_alone(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    runs.add()
    out = tmp_path / "mine"
    out.mkdir()
    (out / MARKER).write_text(content)
    assert orchestrator(["report", "--html", str(out)]) == 2
    assert "is not empty, and no report is in it" in capsys.readouterr().err
    assert (out / MARKER).read_text() == content
    assert names(out) == {MARKER}


def test_what_was_put_into_a_report_is_not_lost(runs: Runs, tmp_path: Path) -> None:
    runs.add()
    out = tmp_path / "report"
    assert orchestrator(["report", "--html", str(out)]) == 0
    (out / "notes.txt").write_text("mine")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert orchestrator(["report", "--html", str(out)]) == 2
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        need_room(tmp_path / "file")


def test_pages_of_a_marker_that_lead_out_of_the_folder_are_none(tmp_path: Path) -> None:
    out, outside = tmp_path / "report", tmp_path / "outside.html"
    out.mkdir()
    outside.write_text("mine")
    (out / MARKER).write_text('{"made_by": "orchestrator report", "pages": ["../outside.html"]}')
    with pytest.raises(InputError, match="no report is in it"):
        write_report(out, {"index.html": "x"})
    assert outside.read_text() == "mine"


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report"
    write_report(out, {"index.html": "old", "a.html": "old"})
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    write, written = Path.write_bytes, list[Path]()

    def full(self: Path, data: bytes) -> int:
        written.append(self)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(out, {"index.html": "new", "b.html": "new", "c.html": "new"})
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    written.clear()
    with pytest.raises(InputError, match="No space left"):
        write_report(tmp_path / "other", {"index.html": "new", "b.html": "new", "c.html": "new"})
    assert not (tmp_path / "other").exists()


def test_a_damaged_run_is_told_and_the_others_are_shown(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = runs.add(), runs.add()
    with sqlite3.connect(runs.home / "ledger.db") as database:
        database.execute("UPDATE runs SET plan = '{}' WHERE id = ?", (bad.id,))
    database.close()
    out = tmp_path / "report"
    assert orchestrator(["report", "--html", str(out)]) == 1
    assert bad.id in capsys.readouterr().err
    assert names(out) == {"index.html", MARKER, f"{good.id}.html"}
    assert bad.id in (out / "index.html").read_text(encoding="utf-8")
    assert orchestrator(["report", bad.id, "--html", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def test_it_asks_no_service_and_draws_no_png(runs: Runs, tmp_path: Path) -> None:
    runs.evaluated()
    code = (
        "import sys\nfrom orchestrator.cli import run\n"
        f"assert run(['report', '--html', {str(tmp_path / 'report')!r}]) == 0\n"
        "assert not {'google.cloud.storage', 'grpc', 'huggingface_hub', 'torch', 'PIL'}"
        " & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
