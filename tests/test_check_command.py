"""`orchestrator check`: kinds, tools, the page, the document, and a console of any sort."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import check, report_printing, run
from orchestrator.cli.network import FetchOnDemand
from orchestrator.cli.printing import note, print_json, print_report
from orchestrator.dataset.report import Finding, Histogram, Level, Report, Table
from orchestrator.dataset.rules import KINDS
from orchestrator.errors import Place
from orchestrator.shipped import shipped_names
from orchestrator.token_rules import Tokenizers
from tests.router_spec import ROUTER, SAMPLE, changed

Shell = Callable[..., tuple[int, str, str]]
FORM_ONLY = ("--only", "form")
COPILOT = "functiongemma/cycling-copilot"
TOOLS = "functiongemma/cycling-copilot.tools.json"


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


@pytest.mark.parametrize(("only", "asked"), [("form,duplicates", False), ("length", True)])
def test_the_hub_is_asked_for_a_tokenizer_only_where_tokens_count(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, only: str, asked: bool
) -> None:
    found: list[bool] = []

    class Fetch(FetchOnDemand):
        @property
        def tokenizers(self) -> Tokenizers:
            found.append(True)
            return super().tokenizers

    monkeypatch.setattr(check, "FetchOnDemand", Fetch)
    code, _, _ = shell("check", ROUTER, "--only", only, "--offline")
    assert (code, bool(found)) == (0, asked)


# -------------------------------------------------------------------------------- the shipped specs


@pytest.mark.parametrize("name", list(shipped_names()))
def test_every_shipped_spec_passes_on_its_own_sample(shell: Shell, name: str) -> None:
    code, out, err = shell("check", name, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert 30 <= document["rows"] <= 400
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


def test_a_folder_of_tools_is_called_one(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("check", COPILOT, "--tools", tmp_path)
    assert (code, err.splitlines()[0]) == (2, f"error: --tools: {tmp_path} is a folder")


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


@pytest.mark.parametrize(
    ("split", "exact", "code"),
    [
        ("train: 0.85, validation: 0.15, test: 0", False, 0),
        ("train: 0.8, validation: 0.2, test: 0", True, 1),  # equal rows would just pass
        ("train: 0.7, validation: 0.3, test: 0", False, 1),
    ],
)
def test_many_rows_are_prepared_only_near_a_limit(
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: str,
    exact: bool,
    code: int,
) -> None:
    monkeypatch.setattr(check, "_LARGE_BYTES", 1000)
    spec = tmp_path / "spec.yaml"
    given = "train: 0.85, validation: 0.10, test: 0.05"
    spec.write_text(changed(given, split), encoding="utf-8")
    got, out, _ = shell("check", spec, "--data", SAMPLE, "--only", "service", "--json")
    (table,) = json.loads(out)["figures"]
    assert all((row[2] is not None) == exact for row in table["rows"])
    assert ("by the shares" in table["name"]) != exact
    assert got in ({0, 1} if exact else {code})
    assert sum(row[1] for row in table["rows"]) == 40


def test_more_rows_wanted_than_there_are_is_said_of_many_rows_too(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_LARGE_BYTES", 1000)
    spec = tmp_path / "spec.yaml"
    given = "train: 0.85, validation: 0.10, test: 0.05"
    spec.write_text(changed(given, "train: 100, validation: 1, test: 0"), encoding="utf-8")
    code, out, _ = shell("check", spec, "--data", SAMPLE, "--only", "service", "--json")
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["code"]) == (1, "no-splits")


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


@pytest.mark.parametrize("read", ["rows.jsonl", "spec.yaml", "link.html"])
def test_the_page_never_replaces_what_is_checked(shell: Shell, tmp_path: Path, read: str) -> None:
    data, spec = tmp_path / "rows.jsonl", tmp_path / "spec.yaml"
    data.write_bytes(SAMPLE.read_bytes())
    spec.write_bytes(ROUTER.read_bytes())
    (tmp_path / "link.html").symlink_to(data)
    code, out, err = shell("check", spec, "--data", data, "--html", tmp_path / read, *FORM_ONLY)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --html {tmp_path / read}: the page would replace a file")
    assert data.read_bytes() == SAMPLE.read_bytes()
    assert spec.read_bytes() == ROUTER.read_bytes()


def test_the_page_never_replaces_the_tools(shell: Shell, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_bytes(ROUTER.parents[1].joinpath(TOOLS).read_bytes())
    before = tools.read_bytes()
    code, _, _ = shell("check", COPILOT, "--tools", tools, "--html", tools, *FORM_ONLY)
    assert (code, tools.read_bytes()) == (2, before)


def test_an_older_page_is_replaced(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("old", encoding="utf-8")
    code, _, _ = shell("check", ROUTER, "--html", page, *FORM_ONLY)
    assert code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


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
    assert title == "lengths, in tokens"
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


EVIL = "\x1b]0;owned\x07\x1b[2Jred\x9b31m\u202eback\nerror: forged:1: line"
SHOWN = r"\u001b]0;owned\u0007\u001b[2Jred\u009b31m\u202eback\nerror: forged:1: line"


def test_text_of_rows_gives_no_orders_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_printing, "_on_terminal", lambda: True)
    monkeypatch.setattr(report_printing, "_width", lambda: 300)
    finding = Finding("form", Level.ERROR, "c", Place(EVIL, 1), EVIL, EVIL)
    report = Report.of(1, [finding])
    report_printing.print_findings(report)
    report_printing.print_figure_table(Table(EVIL, ("a",), ((EVIL,),)))
    print_report(report, err=True)
    note(EVIL)
    captured = capsys.readouterr()
    assert set("\x1b\x07\x9b\u202e") & set(captured.out + captured.err) == set()
    assert captured.out.count(SHOWN) == 4
    assert not [line for line in captured.out.splitlines() if line.startswith("error: forged")]


def test_text_of_rows_stays_what_it_is_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({EVIL: EVIL})
    out = capsys.readouterr().out
    assert set("\x1b\x07\x9b\u202e") & set(out) == set()
    assert json.loads(out) == {EVIL: EVIL}


def test_orders_in_rows_reach_no_stream(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    row = {"prompt": EVIL, "completion": json.dumps({"tags": [EVIL], EVIL: EVIL})}
    data.write_text(f"{json.dumps(row)}\n" * 3 + f'{{"{EVIL}": 1}} {{\n', encoding="utf-8")
    code, out, err = shell("check", ROUTER, "--data", data)
    assert code == 1
    assert set("\x1b\x07\x9b\u202e") & set(out + err) == set()


def test_the_end_of_a_long_place_is_kept_for_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("t", ("row", "at"), ((1, "a/" * 100 + "rows.jsonl:4711"),))
    report_printing.print_figure_table(table)
    line = capsys.readouterr().out.splitlines()[2]
    assert line.endswith("a/rows.jsonl:4711")
    assert len(line) <= 100


def test_all_columns_of_words_give_way_to_the_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_printing, "_width", lambda: 60)
    table = Table("t", ("a", "b", "n"), (("x" * 60, "y" * 60, 1_000_000),))
    report_printing.print_figure_table(table)
    line = capsys.readouterr().out.splitlines()[2]
    assert len(line) <= 60
    assert line.endswith("1,000,000")


def test_shares_are_shown_in_per_cent(capsys: pytest.CaptureFixture[str]) -> None:
    report_printing.print_figure_table(Table("t", ("a", "share"), (("x", 0.3667), ("y", None))))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["36.7%", "-"]


def test_equal_values_get_a_line_and_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    report_printing.print_histogram(Histogram("lengths", "tokens", ((7, 7, 1200),)))
    assert capsys.readouterr().out.splitlines() == ["lengths, in tokens", "  7 in all 1,200 rows"]


def test_tables_of_the_rows_make_room_for_errors(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(SAMPLE.read_bytes() + b"{\n")
    code, out, _ = shell("check", ROUTER, "--data", data, "--only", "length,balance")
    assert code == 1
    assert out.startswith(f"error: {data}:41: ")
    assert "█" in out
    assert "share" not in out
    assert "tables of the rows: --html or --json shows them" in out
    _, sound, _ = shell("check", ROUTER, "--only", "balance")
    assert "share" in sound


def test_the_verdict_stands_last_below_the_table_of_kinds(shell: Shell) -> None:
    code, out, _ = shell("check", ROUTER, "--data", SAMPLE, *FORM_ONLY)
    assert (code, out.splitlines()) == (
        0,
        [
            "  kind  errors  warnings",
            "  form       -         -",
            "",
            f"{SAMPLE}: 40 rows, no errors",
        ],
    )


# -------------------------------------------------------------------------------- for programs


def test_the_document_has_these_fields_whatever_was_found(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(SAMPLE.read_bytes() + b"{\n")
    _, out, _ = shell("check", ROUTER, "--data", data, "--json")
    document = json.loads(out)
    assert list(document) == ["spec", "data", "files", "kinds", "rows", "findings", "figures"]
    assert document["files"] == [{"path": str(data), "name": str(data), "split": None}]
    assert {tuple(finding) for finding in document["findings"]} == {
        ("kind", "level", "code", "count", "examples")
    }
    examples = [example for finding in document["findings"] for example in finding["examples"]]
    assert {tuple(example) for example in examples} == {("file", "line", "message", "hint")}
    assert {(figure["type"], *figure) for figure in document["figures"]} == {
        ("histogram", "type", "name", "unit", "bins", "marks"),
        ("table", "type", "name", "header", "rows"),
    }
