"""`orchestrator check`: kinds, tools, the page, the document, and a console of any sort."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import report_printing, run
from orchestrator.dataset.report import Finding, Histogram, Level, Report, Table
from orchestrator.dataset.rules import KINDS
from orchestrator.errors import Place
from orchestrator.shipped import shipped_names
from tests.router_spec import ROUTER, SAMPLE, changed

Shell = Callable[..., tuple[int, str, str]]
FORM_ONLY = ("--only", "form")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


# -------------------------------------------------------------------------------------- the kinds


def test_an_unknown_kind_names_the_kinds_and_the_nearest(shell: Shell) -> None:
    code, out, err = shell("check", ROUTER, "--only", "form,lenght")
    assert (code, out) == (2, "")
    assert "there is no kind 'lenght'. Did you mean length?" in err
    assert ", ".join(KINDS) in err


@pytest.mark.parametrize("only", ["", ",", " , "])
def test_no_kind_at_all_names_the_kinds(shell: Shell, only: str) -> None:
    code, _, err = shell("check", ROUTER, "--only", only)
    assert code == 2
    assert f"Kinds: {', '.join(KINDS)}." in err


def test_only_the_kinds_that_were_asked_for_are_checked(shell: Shell) -> None:
    code, out, _ = shell("check", ROUTER, "--only", "balance, form", "--json")
    document = json.loads(out)
    assert (code, document["kinds"]) == (0, ["form", "balance"])
    assert {finding["kind"] for finding in document["findings"]} == {"balance"}


def test_rows_that_cannot_be_read_fail_any_kind(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(SAMPLE.read_bytes() + b"{\n")
    code, out, _ = shell("check", ROUTER, "--data", data, "--only", "privacy", "--json")
    assert code == 1
    (finding,) = json.loads(out)["findings"]
    assert (finding["kind"], finding["examples"][0]["line"]) == ("form", 41)


# -------------------------------------------------------------------------------- the shipped specs


@pytest.mark.parametrize("name", list(shipped_names()))
def test_every_shipped_spec_passes_on_its_own_sample(shell: Shell, name: str) -> None:
    code, out, err = shell("check", name, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert 30 <= document["rows"] <= 40
    assert [f for f in document["findings"] if f["level"] == "error"] == []


@pytest.mark.skipif(
    "ORCHESTRATOR_DATA" not in os.environ, reason="ORCHESTRATOR_DATA does not name outside data"
)
@pytest.mark.parametrize(
    ("name", "rows", "tools", "count"),
    [
        ("functiongemma/support-router", "support-router/rows.jsonl", True, 115),
        ("functiongemma/cycling-copilot", "cycling-copilot/rows.csv", True, 942),
        ("functiongemma/support-router", "support-router/rows.jsonl", False, 115),
        ("functiongemma/cycling-copilot", "cycling-copilot/rows.csv", False, 942),
        ("math/benchmarks", "math/benchmarks.jsonl", False, 1451),
        ("math/qwen3-32b", "math/benchmarks.jsonl", False, 1451),
        ("router/llama-3.1-8b", "route-plan/rows.jsonl", False, 322),
    ],
)
def test_the_outside_rows_go_through_the_shipped_specs_without_errors(
    shell: Shell, name: str, rows: str, tools: bool, count: int
) -> None:
    data = Path(os.environ["ORCHESTRATOR_DATA"]) / rows
    given = ("--tools", data.with_name("tools.json")) if tools else ()
    code, out, _ = shell("check", name, "--data", data, *given, "--json", "--only", "form,service")
    document = json.loads(out)
    assert (code, document["rows"]) == (0, count)
    assert document["findings"] == []


# ------------------------------------------------------------------------------------ the tools


def test_other_tools_than_those_of_the_spec_decide_what_may_be_called(
    shell: Shell, tmp_path: Path
) -> None:
    tools = tmp_path / "tools.json"
    function = {"name": "fly", "description": "d", "parameters": {"type": "object"}}
    tools.write_text(json.dumps([{"type": "function", "function": function}]), encoding="utf-8")
    code, out, _ = shell("check", "functiongemma/cycling-copilot", "--tools", tools, *FORM_ONLY)
    assert code == 1
    assert "find_nearby_poi" in out


def test_tools_that_are_not_there_are_named(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("check", "functiongemma/cycling-copilot", "--tools", tmp_path / "gone")
    assert code == 2
    assert err.startswith(f"error: --tools: there is no file {tmp_path / 'gone'}\n")


# ----------------------------------------------------------------------------- the splits' sizes


def test_a_split_that_vertex_would_refuse_is_an_error_of_the_service(
    shell: Shell, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    split = "train: 0.85, validation: 0.10, test: 0.05"
    spec.write_text(changed(split, "train: 0.7, validation: 0.3, test: 0.0"), encoding="utf-8")
    code, out, _ = shell("check", spec, "--data", SAMPLE, "--only", "service", "--json")
    assert code == 1
    (finding,) = json.loads(out)["findings"]
    assert (finding["kind"], finding["code"]) == ("service", "validation-too-large")
    assert "checked 2026" in finding["examples"][0]["hint"]


def test_nothing_is_split_while_rows_are_unsound(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b"{}\n" * 3)
    code, out, _ = shell("check", ROUTER, "--data", data, "--only", "form,service", "--json")
    document = json.loads(out)
    assert (code, document["figures"]) == (1, [])
    assert [finding["kind"] for finding in document["findings"]] == ["form"]


# ------------------------------------------------------------------------------------- the page


def test_the_page_is_written_with_the_folder_above_it(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    code, _, err = shell("check", ROUTER, "--html", page)
    assert (code, err) == (0, f"the report is in {page}\n")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") >= 3


def test_with_json_the_page_is_written_without_a_word(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, out, err = shell("check", ROUTER, "--html", page, "--json", *FORM_ONLY)
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"] == 40
    assert page.is_file()


def test_a_page_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    code, _, err = shell("check", ROUTER, "--html", in_the_way / "report.html", *FORM_ONLY)
    assert code == 2
    assert "cannot write" in err


# ---------------------------------------------------------------------------------- for people


HISTOGRAM = Histogram("lengths", "tokens", ((0, 9, 1), (10, 19, 40)), (("max_length", 512),))


def test_bars_are_drawn_in_proportion_with_their_marks(capsys: pytest.CaptureFixture[str]) -> None:
    report_printing.print_histogram(HISTOGRAM)
    title, low, high = capsys.readouterr().out.splitlines()
    assert title == "lengths (tokens)"
    assert low == "    0–9  1 █"
    assert high == f"  10–19 40 {'█' * 40} <- beyond: max_length 512"


def test_a_console_without_unicode_gets_plain_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_printing, "_can_print", lambda text: text.isascii())
    report_printing.print_histogram(HISTOGRAM)
    report_printing.print_figure_table(Table("t", ("a", "n"), (("x" * 200, 1),)))
    out = capsys.readouterr().out
    assert out.isascii()
    assert "  10-19 40 " + "#" * 40 in out
    assert max(map(len, out.splitlines())) <= 100


def test_findings_are_worst_first_bounded_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        Finding("form", level, f"c-{level}", Place("a", line), "wrong", "Mend it.")
        for level in (Level.NOTE, Level.WARNING, Level.ERROR)
        for line in range(1, 9)
    ]
    report_printing.print_findings(Report.of(8, findings))
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert shown == ["error"] * 5 + ["warning"] * 2 + ["note"]
    more = [line for line in lines if line.startswith("  …")]
    assert [line.split()[2] for line in more] == ["3", "6", "7"]
    assert lines.count("  Mend it.") == 3


def test_text_of_rows_cannot_break_a_table_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report_printing.print_figure_table(Table("t", ("a", "n"), (("x\ny\r\nz", 1),)))
    assert capsys.readouterr().out.splitlines()[2].split() == ["x", "y", "z", "1"]


def test_prose_is_folded_at_the_width_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_printing, "_on_terminal", lambda: True)
    monkeypatch.setattr(report_printing, "_width", lambda: 40)
    finding = Finding("form", Level.ERROR, "c", Place("a", 1), "word " * 20, "advice " * 20)
    report_printing.print_findings(Report.of(1, [finding]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("error: a:1: word")
    assert all(line.startswith("  ") and line[2] != " " for line in lines[1:])
    assert max(map(len, lines)) < 40
