"""Nothing private is shown: not in a report, a summary or a declaration of a tool."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator.dataset.checks.privacy import PrivacyCheck
from orchestrator.dataset.example import Example, Tool
from orchestrator.dataset.preparing.tallies import _Names
from orchestrator.dataset.privacy.detection import redact
from orchestrator.dataset.privacy.masking import masked, shown
from orchestrator.dataset.privacy.redaction import redacted
from orchestrator.dataset.report import Finding, Level, Report, Table
from orchestrator.dataset.rules import RowsFile
from orchestrator.dataset.running.engine import check_files
from orchestrator.errors import Place
from tests.dataset.checked_rows import checked, row, rules_of

KEY = "sk-ant-api03-" + "aB3dE5fG7h" * 9
MAIL = "anna.schmidt@firma.de"
PHONE = "+49 151 23456789"
PRIVATE = (KEY, MAIL, PHONE)


@pytest.mark.parametrize("private", PRIVATE)
@pytest.mark.parametrize("quoted", ["there is no tool {}", "'{}' is not of type 'number'", "`{}`"])
def test_a_message_that_quotes_a_row_is_masked_whole_or_cut_short(
    private: str, quoted: str
) -> None:
    assert private not in shown(quoted.format(private))
    for length in range(14, len(private)):
        cut = shown(quoted.format(f"{private[:length]}…"))
        assert private[:14] not in cut


def test_what_is_masked_already_and_plain_text_stay_as_they_are() -> None:
    for text in ("sk-… (107 characters)", "a…@….de", "+•• ••••89", "route_plan: 3 of sk-learn"):
        assert shown(text) == text


def test_findings_and_tables_of_a_report_are_masked() -> None:
    finding = Finding("form", Level.ERROR, "x", Place("f", 1), f"no tool {KEY}", f"Ask {MAIL}.")
    report = Report.of(1, [finding]).extended([], [Table("t", ("tag",), ((MAIL,), (3,)))])
    said = json.dumps(masked(report).to_json())
    assert not any(private in said for private in PRIVATE)
    assert masked(report).groups.keys() == report.groups.keys()


def test_the_report_of_files_shows_nothing_private_of_broken_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        f'{{"{KEY}": 1, "{KEY}": 2}}\n{{"prompt": "x", "completion": 3, "{MAIL}": 1}}\n'
        f'{{"prompt": "Hi", "completion": "{MAIL}"}}\n{{"prompt": "{PHONE}", {MAIL}\n'
    )
    report = check_files([RowsFile(file, "rows.jsonl")], rules_of(), ["form", "balance"], workers=1)
    said = json.dumps(report.to_json(), ensure_ascii=False)
    assert len(report.groups) > 2
    assert "aB3dE5" not in said
    assert "schmidt" not in said
    assert PHONE not in said


def test_names_in_a_summary_are_masked() -> None:
    names = _Names()
    names.add([MAIL, "math"])
    assert {one.name for one in names.frequencies()} == {"[EMAIL]", "math"}


def _tool() -> Tool:
    parameters = {
        "type": "object",
        "properties": {"name": {"type": "string", "description": f"as {MAIL}", "enum": [KEY]}},
        "required": ["name"],
    }
    function = {"name": "send", "description": f"Call {PHONE}", "parameters": parameters}
    return Tool("send", parameters, {"type": "function", "function": function})


def _example() -> Example:
    example = row(3, "Hi", "yes")
    example.tools, example.tags, example.difficulty = (_tool(),), (MAIL,), KEY
    example.reference = PHONE
    return example


def test_tools_tags_and_reference_are_redacted_and_names_stay() -> None:
    made = redacted(_example(), redact)
    said = json.dumps([made.tools[0].declaration, made.tools[0].parameters, made.tags])
    assert not any(private in f"{said}{made.difficulty}{made.reference}" for private in PRIVATE)
    function = made.tools[0].declaration["function"]
    assert function["name"] == "send"
    assert function["parameters"]["properties"]["name"]["enum"] == ["[SECRET]"]
    assert function["parameters"]["required"] == ["name"]
    plain = row(1, "Hi")
    assert redacted(plain, redact) is plain


def test_private_things_in_a_rows_own_tools_and_reference_are_found() -> None:
    report = checked(PrivacyCheck(rules_of()), [_example()])
    said = [one.message for group in report.findings for one in group.examples]
    assert any("key in the row's tools" in message for message in said)
    assert any("e-mail address in the row's tools" in message for message in said)
    assert any("phone number in the reference answer" in message for message in said)


def test_private_things_in_tools_that_all_rows_share_are_said_once() -> None:
    rules = dataclasses.replace(rules_of(), tools=(_tool(),))
    rows = [row(n, "Hi") for n in range(1, 9)]
    for one in rows:
        one.tools = rules.tools
    report = checked(PrivacyCheck(rules), rows)
    assert {group.code: group.count for group in report.findings} == {
        "key-or-token-in-tools": 1,
        "email-in-tools": 1,
        "phone-in-tools": 1,
    }
