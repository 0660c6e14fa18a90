"""A mapping names columns, prompts and templates; what does not fit is said before any row."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.form import FormCheck
from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.formats.conversion import Converter, require_columns
from orchestrator.dataset.formats.prompt_template import prompt_template
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError
from tests.dataset.rules_of import converted, example_of, finding_of, rules_of

QUESTION = {"question": "How many?", "answer": "5"}


def test_columns_are_renamed_and_the_row_is_kept_as_it_was() -> None:
    rules = rules_of("math", columns={"question": "data.ask", "answer": "a.b"})
    row = {"data": {"ask": "q"}, "a.b": "5", "question": "another"}
    found = example_of(rules, row)
    assert found.prompt == (Message("user", "q"),)
    assert (found.reference, found.fields) == ("5", row)


def test_a_missing_column_names_those_that_there_are() -> None:
    rules = rules_of("prompt-completion", columns={"prompt": "ask.text"})
    found = finding_of(rules, {"ask": {"body": "q"}, "prompt": "p", "completion": "c"})
    assert found.code == "column-missing"
    assert "no column `ask.text`, which the spec names for `prompt`" in found.message
    assert found.hint == "The row's columns: ask, prompt, completion."


def test_a_needed_column_that_no_row_has_is_said_once() -> None:
    rules = rules_of("prompt-completion", columns={"prompt": "ask"})
    rows = [Row(1, {"prompt": "p", "completion": "c"}), Row(2, {"text": "t"})]
    problem = Converter(rules).missing_columns(rows)
    assert problem is not None
    assert problem.message == "data.mapping.columns names `ask` for `prompt`, and no row has it"
    assert problem.hint == "Columns that there are: prompt, completion, text."
    assert Converter(rules).missing_columns([*rows, Row(3, {"ask": "x"})]) is None
    assert Converter(rules).missing_columns([]) is None


def test_files_are_looked_at_for_needed_columns_before_they_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "t"}\n{"cut\n', encoding="utf-8")
    (tmp_path / "b.csv").write_text("ask,completion\nx,y\n", encoding="utf-8")
    files = [RowsFile(tmp_path / name, name) for name in ("a.jsonl", "b.csv")]
    require_columns(files, rules_of("prompt-completion", columns={"prompt": "ask"}))
    with pytest.raises(InputError, match="names `asked` for `prompt`, and no row has it") as caught:
        require_columns(files, rules_of("prompt-completion", columns={"prompt": "asked"}))
    assert caught.value.hint == "Columns that there are: text, ask, completion."


def _form(parts: list[list[dict[str, Any]]]) -> list[tuple[str, int, str]]:
    rules = rules_of("instruction", columns={"entry_point": "entry", "code": "extra.code"})
    checks = []
    for rows in parts:
        check = FormCheck(rules)
        check.examine([e for e in converted(rules, rows) if isinstance(e, Example)])
        checks.append(pickle.loads(pickle.dumps(check)))  # noqa: S301 (made here)
    first, *later = checks
    for check in later:
        first.merge(check)
    return [(g.code, g.count, g.examples[0].message) for g in first.conclude()]


def test_an_optional_column_that_no_row_has_is_said_once_whatever_the_parts() -> None:
    row = {"instruction": "i", "output": "o"}
    said = "no row has the mapped column `entry` (for entry_point), `extra.code` (for code)"
    for parts in ([[row, row, row]], [[row], [row, row]], [[], [row], []]):
        assert _form(parts) == [("unknown-column", 1, said)]
    one = "no row has the mapped column `extra.code` (for code)"
    assert _form([[row], [row | {"entry": "f"}]]) == [("unknown-column", 1, one)]
    assert _form([[row | {"entry": "f"}], [row | {"extra": {"code": "c"}}]]) == []
    assert _form([[]]) == []


def test_the_prompts_of_the_spec_go_before_a_chat_that_has_none() -> None:
    rules = rules_of("chat", system="S", developer="D")
    user, answer = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}
    assert example_of(rules, {"messages": [user, answer]}).prompt == (
        Message("system", "S"),
        Message("developer", "D"),
        Message("user", "u"),
    )
    own = {"role": "system", "content": "own"}
    assert example_of(rules, {"messages": [own, user, answer]}).prompt == (
        Message("system", "own"),
        Message("developer", "D"),
        Message("user", "u"),
    )


def test_a_template_holds_fields_in_braces_and_doubled_braces_as_text() -> None:
    template = "{question}\nWrite {{x}}. {hint}"
    rules = rules_of("math", template=template, columns={"hint": "help.text"})
    found = example_of(rules, {**QUESTION, "help": {"text": ["a", 1]}})
    assert found.prompt == (Message("user", 'How many?\nWrite {x}. ["a",1]'),)
    assert finding_of(rules, QUESTION).code == "template-field"


@pytest.mark.parametrize(
    ("mapping", "part"),
    [
        ({"template": "{qestion}"}, "names {qestion}, and there is no such field"),
        ({"template": "{question"}, "data.mapping.template: "),
        ({"template": "{question} }"}, "data.mapping.template: "),
        ({"template": "{}"}, "is not the name of a field"),
        ({"template": "{question.x}"}, "{question.x} is not the name of a field"),
        ({"template": "{question!r}"}, "is not the name of a field"),
        ({"columns": {"qestion": "q"}}, "the format math has no field `qestion`"),
        ({"think": "thoughts"}, "data.mapping.think names `thoughts`"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_before_rows_are_read(
    mapping: dict[str, Any], part: str
) -> None:
    with pytest.raises(InputError) as caught:
        Converter(rules_of("math", **mapping))
    assert part in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("prompt-completion", "system"),
        ("prompt-completion", "developer"),
        ("router-trace", "system"),
        ("chat", "template"),
    ],
)
def test_what_a_format_cannot_honour_is_refused(form: str, part: str) -> None:
    mapping: dict[str, Any] = {part: "x"}
    with pytest.raises(InputError, match=rf"data.mapping.{part}: rows of the format {form}"):
        Converter(rules_of(form, **mapping))


def test_thinking_goes_before_the_answer() -> None:
    rules = rules_of("math", think="thoughts", columns={"thoughts": "cot"})
    found = example_of(rules, {**QUESTION, "cot": " five of them \n"})
    assert found.answer == (Message("assistant", "<think>\nfive of them\n</think>\n\n5"),)
    assert finding_of(rules, {**QUESTION, "cot": " "}).code == "think-field"
    rules = rules_of("prompt-completion", think="why", columns={"why": "why"})
    text = example_of(rules, {"prompt": "p", "completion": "c", "why": "so"})
    assert text.answer == "<think>\nso\n</think>\n\nc"


def test_a_template_does_not_change_a_chat_request() -> None:
    row = {"body": {"messages": [{"role": "user", "content": "u"}]}, "answer": "5"}
    assert finding_of(rules_of("math", template="{question}"), row).code == "template-unused"


def test_a_template_without_fields_is_just_its_text() -> None:
    assert prompt_template("a {{}} b").fill({}) == "a {} b"
