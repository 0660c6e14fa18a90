"""Rows are checked against the schemas; the two validators agree on whatever a file can hold."""

from __future__ import annotations

import copy
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data_files import data_folder, schema
from orchestrator.dataset.checks.form import FormCheck
from orchestrator.dataset.checks.schemas import explain, is_valid
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.formats.registry import FORMATS
from orchestrator.dataset.reading.jsonl import read_jsonl
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding, Level, Report
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place
from tests.dataset.rules_of import needs_data, outside, rules_of

SAMPLE = data_folder("jobs") / "router" / "sample.jsonl"
ROWS = [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()]
PLANS = [orjson.loads(row["completion"]) for row in ROWS]


RULES = rules_of(answer="route-plan")
TEXTS = rules_of()


def check(content: bytes, folder: Path) -> Report:
    file = folder / "rows.jsonl"
    file.write_bytes(content)
    read = list(read_jsonl(file, "rows.jsonl"))
    converter, form = Converter(RULES), FormCheck(RULES)
    findings: list[Finding] = []
    for row in read:
        made = row if isinstance(row, Finding) else converter.convert("rows.jsonl", row, None)
        findings += [made] if isinstance(made, Finding) else form.examine([made])
    return Report.of(len(read), findings)


def check_row(row: dict[str, Any], rules: Rules = TEXTS) -> list[Finding]:
    made = Converter(rules).convert("rows.jsonl", Row(7, row), None)
    return [made] if isinstance(made, Finding) else list(FormCheck(rules).examine([made]))


def check_answer(answer: str) -> list[Finding]:
    return check_row({"prompt": "p", "completion": answer}, RULES)


def only_finding(findings: list[Finding]) -> Finding:
    (found,) = findings
    assert found.place == Place("rows.jsonl", 7)
    assert (found.kind, found.level) == ("form", Level.ERROR)
    assert found.hint
    return found


def test_the_sample_of_the_router_is_sound(tmp_path: Path) -> None:
    report = check(SAMPLE.read_bytes(), tmp_path)
    assert (report.rows, report.findings) == (40, [])


@needs_data
def test_the_outside_rows_are_all_there_and_sound(tmp_path: Path) -> None:
    rows = outside("route-plan", "rows.jsonl")
    report = check(rows.read_bytes(), tmp_path)
    assert (report.rows, report.error_count) == (322, 0)


@pytest.mark.parametrize(
    "bad", [b'{"prompt": "p"', b'{"prompt": "p"}', b'{"prompt":"p","completion":"x"}']
)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_bad_last_line_is_found(tmp_path: Path, bad: bytes, end: bytes) -> None:
    content = SAMPLE.read_bytes()
    assert content.endswith(b"\n")
    report = check(content + bad + end, tmp_path)
    assert report.rows == 41
    (group,) = report.findings
    assert group.count == 1
    assert group.examples[0].place == Place("rows.jsonl", 41)


def test_bad_lines_among_good_ones_are_all_found_on_their_lines(tmp_path: Path) -> None:
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:50] + b"\n"
    lines[9] = lines[9].rstrip() + lines[10]
    lines[20] = b"\n"
    lines[30] = b'{"prompt": "p", "completion": ""}\n'
    report = check(b"".join(lines), tmp_path)
    assert report.rows == 39
    found = {(f.code, f.place.line) for group in report.findings for f in group.examples}
    assert found == {("cut", 5), ("two-rows", 10), ("row-schema", 31)}


def test_rows_may_carry_other_fields_but_not_miss_theirs() -> None:
    row: dict[str, Any] = {"prompt": "p", "completion": "c", "source": {"any": ["thing", 1]}}
    assert check_row(row) == []
    row = {"prompt": "p", "answer": "c"}
    found = only_finding(check_row(row))
    assert found.code == "row-schema"
    assert found.message == "row: 'completion' is a required property"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("", "prompt: '' is not text with a visible character"),
        (" \n\u00a0\u2003", "is not text with a visible character"),
        (None, "prompt: None is not of type 'string'"),
        (["x"], "prompt: ['x'] is not of type 'string'"),
        (3, "prompt: 3 is not of type 'string'"),
    ],
)
def test_a_prompt_must_be_text(value: Any, part: str) -> None:
    row: dict[str, Any] = {"prompt": value, "completion": "c"}
    found = only_finding(check_row(row))
    assert found.code == "row-schema"
    assert part in found.message


@pytest.mark.parametrize(
    "answer",
    ["yes", "```json\n{}\n```", "{", "{} {}", "NaN", '{"a": NaN}', "'x'", "[" * 3000, "1" * 5000],
)
def test_an_answer_that_is_not_json_is_found(answer: str) -> None:
    found = only_finding(check_answer(answer))
    assert found.code == "answer-not-json"
    assert "route-plan" in found.hint


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"route_plan": []}, "route_plan: "),
        ({"route_plan": ["math(x)"]}, "route_plan[0]: 'math(x)' is not a call such as /math("),
        ({"route_plan": ["/Math(x)"]}, "route_plan[0]: "),
        ({"route_plan": "/math(x)"}, "route_plan: '/math(x)' is not of type 'array'"),
        ({"difficulty": "hard"}, "difficulty: 'hard' is not one of"),
        ({"tags": ["a", ""]}, "tags[1]: '' is not text with a visible character"),
        ({"todo_list": []}, "todo_list: "),
        ({"metrics": {"primary": ["a"]}}, "metrics: 'secondary' is a required property"),
        ({"metrics": {"primary": [], "secondary": []}}, "metrics.primary: "),
        ({"handoff_plan": " "}, "handoff_plan: ' ' is not text with a visible character"),
        ({"notes": "x"}, "'notes' was unexpected"),
    ],
)
def test_an_answer_that_is_no_route_plan_says_where_and_why(
    change: dict[str, Any], part: str
) -> None:
    found = only_finding(check_answer(json.dumps({**PLANS[0], **change})))
    assert found.code == "answer-schema"
    assert found.message.startswith("answer: ")
    assert part in found.message


@pytest.mark.parametrize("key", sorted(PLANS[0]))
def test_every_key_of_a_route_plan_is_required(key: str) -> None:
    plan = {name: value for name, value in PLANS[0].items() if name != key}
    assert f"'{key}' is a required property" in only_finding(check_answer(json.dumps(plan))).message


@pytest.mark.parametrize("answer", ["[]", "null", '"text"', "3"])
def test_an_answer_that_is_no_object_is_found(answer: str) -> None:
    assert only_finding(check_answer(answer)).code == "answer-schema"


def test_tags_and_secondary_metrics_may_be_empty() -> None:
    plan = {**PLANS[0], "tags": [], "metrics": {"primary": ["a"], "secondary": [], "how": {"x": 1}}}
    assert check_answer(json.dumps(plan)) == []


def test_without_a_schema_for_answers_any_text_is_an_answer() -> None:
    row: dict[str, Any] = {"prompt": "p", "completion": "plain words"}
    assert check_row(row) == []


def test_a_long_value_is_not_repeated_in_full() -> None:
    row: dict[str, Any] = {"prompt": ["x" * 10_000], "completion": "c"}
    found = only_finding(check_row(row))
    assert len(found.message) < 300


@pytest.mark.parametrize("depth", [100, 300, 900, 1000, 1020])
def test_a_deeply_nested_value_is_a_finding_and_not_a_crash(depth: int) -> None:
    nested = orjson.loads("[" * depth + "]" * depth)
    row: dict[str, Any] = {"prompt": nested, "completion": "c"}
    assert only_finding(check_row(row))
    answer = json.dumps({**PLANS[0], "metrics": "HERE"}).replace(
        '"HERE"', "[" * depth + "]" * depth
    )
    assert only_finding(check_answer(answer)).code in {"answer-schema", "answer-not-json"}


@pytest.mark.parametrize("name", [*FORMATS, "route-plan", "tools"])
def test_the_schemas_themselves_are_sound(name: str) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_explain_says_nothing_of_a_good_value() -> None:
    assert explain("route-plan", PLANS[0]) is None


def agree(name: str, value: Any) -> bool:
    """Whether a value is valid, which the two validators must say alike."""
    valid = is_valid(name, value)
    assert valid == (explain(name, value) is None), (name, value)
    return valid


@pytest.mark.parametrize(
    ("name", "good", "field"),
    [
        ("prompt-completion", ROWS[0], "prompt"),
        ("prompt-completion", ROWS[0], "completion"),
        ("route-plan", PLANS[0], "handoff_plan"),
    ],
)
def test_the_validators_agree_on_what_is_blank(name: str, good: dict[str, Any], field: str) -> None:
    """Every space, control and format character of Unicode, alone."""
    odd = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(char) in {"Zs", "Zl", "Zp", "Cc", "Cf"} or char.isspace()
    ]
    assert len(odd) > 200
    blank = [char for char in odd if not agree(name, {**good, field: char})]
    assert blank == [char for char in odd if char.isspace() or char == "\ufeff"]


_LEAVES = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "\u0085",
            "\ufeff",
            "\x1c",
            "\u2028x",
            "\n/math(x)",
            "/math(x)\n",
            "/m\u00e4th(",
            "advanced",
        ]
    ),
    st.sampled_from([None, True, False, 0, -0.0, 1.5, 1e308, 2**53 + 1, 2**64, 10**30]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab\u00e9 ", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values inside a value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else []
    )
    return [path for key, item in inner for path in [(*here, key), *_places(item, (*here, key))]]


@st.composite
def _mutated(draw: st.DrawFn, originals: list[dict[str, Any]]) -> Any:
    """A sound value with a few things dropped, replaced, repeated or added."""
    value = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(value)
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        holder: Any = value
        for key in parents:
            holder = holder[key]
        match draw(st.sampled_from(["drop", "replace", "add"])):
            case "drop":
                del holder[last]
            case "replace":
                holder[last] = draw(_ANYTHING)
            case "add" if isinstance(holder, list):
                holder.append(draw(_ANYTHING))
            case _:
                holder[draw(st.text(max_size=3))] = draw(_ANYTHING)
    # As a file would hold it: what JSON has no words for cannot come.
    return orjson.loads(json.dumps(value))


@settings(max_examples=300)
@given(_mutated(PLANS))
def test_the_validators_agree_on_mutated_route_plans(value: Any) -> None:
    agree("route-plan", value)


@settings(max_examples=200)
@given(_mutated(ROWS) | _ANYTHING.map(lambda value: orjson.loads(json.dumps(value))))
def test_the_validators_agree_on_mutated_rows(value: Any) -> None:
    agree("prompt-completion", value)


def test_the_mutations_make_both_valid_and_invalid_values() -> None:
    """So that the two tests above prove something: both answers come up."""
    answers: set[bool] = set()

    @settings(max_examples=100, derandomize=True, database=None)
    @given(_mutated(PLANS))
    def collect(value: Any) -> None:
        answers.add(agree("route-plan", value))

    collect()
    assert answers == {True, False}
