"""Rows against the limits of length: what is lost, told apart, and which limit would do."""

from __future__ import annotations

import math as mathematics
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.length import LengthCheck
from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.report import Group, Histogram, Level, Table
from orchestrator.dataset.rules import Rules, TokenRules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.counting import make_counter
from orchestrator.spec import DataBlock, ExportBlock
from orchestrator.training import sft
from tests.dataset.length_rows import (
    call_example,
    chat_example,
    cycling_copilot,
    outside_data,
    text_example,
    tools_of,
)
from tests.dataset.tiny_tokenizer import FUNCTIONGEMMA_FILE, make_tokenizer

LONG_PROMPT = chat_example(1, "ride " * 300, "Yes.")
LONG_ANSWER = chat_example(2, "How far?", "ride " * 300)
SHORT = chat_example(3, "How far?", "Yes.")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def rules_of(tokenizer: Path | None, max_length: int | None = None, **changes: Any) -> Rules:
    tokens = TokenRules("the model", tokenizer, None, "a test's", 0.25, "the catalog", (0.2, 0.2))
    rules = Rules(
        data=DataBlock(),
        spec_folder=Path(),
        tools=(),
        tokens=tokens,
        service="hf-jobs",
        max_length=max_length,
        max_length_source="tuning.max_length",
        too_long="error",
        export=None,
        seed=1,
    )
    return replace(rules, **changes)


def check_of(rules: Rules, examples: Sequence[Example]) -> LengthCheck:
    check = LengthCheck(rules)
    assert list(check.examine(examples)) == []
    return check


def found(rules: Rules, examples: Sequence[Example]) -> dict[str, Group]:
    return {group.code: group for group in check_of(rules, examples).conclude()}


def errors(groups: dict[str, Group]) -> set[str]:
    return {code for code, group in groups.items() if group.level is Level.ERROR}


def counts(tokenizer: Path, *examples: Example) -> list[TokenCount]:
    return make_counter(rules_of(tokenizer).tokens).count(examples)


def test_a_long_prompt_and_a_long_answer_are_told_apart(tokenizer: Path) -> None:
    groups = found(rules_of(tokenizer, 200), [LONG_PROMPT, LONG_ANSWER, SHORT])
    assert errors(groups) == {"answer-lost", "answer-cut"}
    lost, cut = groups["answer-lost"], groups["answer-cut"]
    assert (lost.count, cut.count) == (1, 1)
    assert (lost.examples[0].place.line, cut.examples[0].place.line) == (1, 2)
    by_prompt, by_answer = counts(tokenizer, LONG_PROMPT, LONG_ANSWER)
    assert f"prompt {by_prompt.prompt:,} + answer {by_prompt.answer}" in lost.examples[0].message
    assert f"{by_prompt.prompt - 200:,} of its own are cut" in lost.examples[0].message
    assert "leaves such a row out without a word" in lost.examples[0].message
    assert f"the last {by_answer.total - 200:,} tokens of the answer" in cut.examples[0].message


def test_a_prompt_that_just_fills_the_limit_is_not_cut_but_its_answer_is_lost(
    tokenizer: Path,
) -> None:
    [count] = counts(tokenizer, LONG_PROMPT)
    [lost] = found(rules_of(tokenizer, count.prompt), [LONG_PROMPT])["answer-lost"].examples
    assert "are cut" not in lost.message
    one_more = found(rules_of(tokenizer, count.prompt + 1), [LONG_PROMPT])
    assert "answer-lost" not in one_more
    assert one_more["answer-cut"].count == 1


def test_a_lost_end_of_turn_is_told_apart_from_a_cut_answer(tokenizer: Path) -> None:
    [count] = counts(tokenizer, LONG_ANSWER)
    assert count.end == 2
    for missing, code in ((1, "end-of-turn-cut"), (2, "end-of-turn-cut"), (3, "answer-cut")):
        groups = found(rules_of(tokenizer, count.total - missing), [LONG_ANSWER])
        assert errors(groups) == {code}
    assert found(rules_of(tokenizer, count.total), [LONG_ANSWER]) == {}


@pytest.mark.parametrize("limit", [40, 60, 200, 309, 310, 311, 312, 313, 314, 400])
def test_the_training_script_leaves_out_and_cuts_the_rows_that_are_named(
    tokenizer: Path, limit: int
) -> None:
    transformers = pytest.importorskip("transformers", reason="the sandbox extra is not installed")
    examples = [LONG_PROMPT, LONG_ANSWER, SHORT, text_example(4, "ride " * 309, "Yes.")]
    rows = [
        sft.Row(
            str(one.line),
            *(
                side
                if isinstance(side, str)
                else [{"role": turn.role, "content": turn.content} for turn in side]
                for side in (one.prompt, one.answer)
            ),
        )
        for one in examples
    ]
    encoded = sft.encode(rows, transformers.AutoTokenizer.from_pretrained(tokenizer), limit)
    groups = found(rules_of(tokenizer, limit), examples)
    counted = {code: group.count for code, group in groups.items()}
    losses = ("answer-lost", "answer-cut", "end-of-turn-cut")
    assert counted.get("answer-lost", 0) == encoded.dropped_count
    assert sum(counted.get(code, 0) for code in losses) == encoded.truncated_count


def test_the_smallest_limit_passes_and_one_less_fails(tokenizer: Path) -> None:
    rows = [LONG_PROMPT, LONG_ANSWER, SHORT]
    smallest = max(count.total for count in counts(tokenizer, *rows))
    groups = found(rules_of(tokenizer, 200), rows)
    assert f"is {smallest:,}; now it is 200" in groups["smallest-limit"].examples[0].message
    assert f"`max_length: {smallest}`" in groups["answer-lost"].examples[0].hint
    assert found(rules_of(tokenizer, smallest), rows) == {}
    assert errors(found(rules_of(tokenizer, smallest - 1), rows))


def test_rows_that_may_be_dropped_are_a_note_and_those_that_may_be_cut_a_warning(
    tokenizer: Path,
) -> None:
    rows = [LONG_PROMPT, LONG_ANSWER, SHORT]
    dropped = found(rules_of(tokenizer, 200, too_long="drop"), rows)
    cut = found(rules_of(tokenizer, 200, too_long="cut"), rows)
    for code in ("answer-lost", "answer-cut"):
        assert dropped[code].level is Level.NOTE
        assert "left out when the rows are prepared" in dropped[code].examples[0].message
        assert cut[code].level is Level.WARNING
    assert errors(dropped) == errors(cut) == set()


@pytest.mark.parametrize(
    ("too_long", "rows", "left"),
    [
        ("drop", [LONG_PROMPT, LONG_ANSWER], False),
        ("drop", [LONG_PROMPT, SHORT], True),
        ("cut", [LONG_PROMPT, LONG_PROMPT], False),
        ("cut", [LONG_PROMPT, LONG_ANSWER], True),
        ("error", [LONG_PROMPT], False),
    ],
)
def test_it_is_an_error_when_no_row_is_left(
    tokenizer: Path, too_long: str, rows: list[Example], left: bool
) -> None:
    groups = found(rules_of(tokenizer, 200, too_long=too_long), rows)
    assert ("no-rows-left" not in errors(groups)) is left


def test_vertex_is_not_told_to_take_another_limit(tokenizer: Path) -> None:
    groups = found(rules_of(tokenizer, 200, service="vertex"), [LONG_PROMPT])
    [example] = groups["answer-lost"].examples
    assert "Vertex says only after the job" in example.message
    assert "the service's" in example.hint
    assert "max_length:" not in example.hint


def test_rows_are_counted_with_the_turns_that_the_service_gets(
    tokenizer: Path, tmp_path: Path
) -> None:
    template = tmp_path / "one-system.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.role == 'developer' %}{{ raise_exception('no developer') }}"
        "{% endif %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}",
        encoding="utf-8",
    )
    tokens = replace(rules_of(tokenizer).tokens, template=template)
    prompts = [Message(role, "Be short. " * 9) for role in ("system", "developer")]
    row = replace(SHORT, prompt=(*prompts, *SHORT.prompt))
    groups = found(rules_of(tokenizer, 10, service="vertex", tokens=tokens), [row])
    assert "answer-lost" in groups
    assert "not-counted" not in groups
    assert "not-counted" in found(rules_of(tokenizer, 10, tokens=tokens), [row])


def test_rows_kept_for_tests_are_not_held_against_the_limit_of_training(tokenizer: Path) -> None:
    test_row = replace(LONG_PROMPT, split="test")
    assert found(rules_of(tokenizer, 200), [test_row, SHORT]) == {}
    assert errors(found(rules_of(tokenizer, 200), [replace(LONG_PROMPT, split="validation")]))


def test_the_cache_of_an_exported_model_must_hold_the_longest_row(tokenizer: Path) -> None:
    rows = [SHORT, LONG_ANSWER]
    longest = max(count.total for count in counts(tokenizer, *rows))
    export = ExportBlock(format="litertlm", kv_cache=longest - 1, prefill=8)
    groups = found(rules_of(tokenizer, export=export), rows)
    group = groups["kv-cache-too-small"]
    assert (group.level, group.count, group.examples[0].place.line) == (Level.ERROR, 1, 2)
    assert group.examples[0].hint == f"The smallest cache that holds all rows is {longest:,}."
    assert groups["prefill-in-steps"].level is Level.NOTE
    assert groups["prefill-in-steps"].count == 2
    steps = mathematics.ceil(max(count.prompt for count in counts(tokenizer, *rows)) / 8)
    assert f"read in {steps} steps of 8" in groups["prefill-in-steps"].examples[0].message
    fits = ExportBlock(format="litertlm", kv_cache=longest, prefill=1000)
    assert found(rules_of(tokenizer, export=fits), rows) == {}


def test_rows_that_are_left_out_need_no_cache(tokenizer: Path) -> None:
    export = ExportBlock(format="litertlm", kv_cache=100)
    groups = found(rules_of(tokenizer, 100, too_long="drop", export=export), [SHORT, LONG_ANSWER])
    assert "kv-cache-too-small" not in groups


def test_an_estimate_tells_certain_rows_from_perhaps() -> None:
    def row(line: int, tokens: int) -> Example:
        return text_example(line, "a" * 40, "b" * (tokens * 4 - 44))  # and one end of text

    rows = [row(1, 83), row(2, 84), row(3, 100), row(4, 125), row(5, 126)]
    rules = rules_of(None, 100)
    groups = found(rules, rows)
    assert [count.total for count in make_counter(rules.tokens).count(rows)] == [
        *(83, 84, 100, 125, 126)
    ]
    assert errors(groups) == {"answer-cut"}
    assert [one.place.line for one in groups["answer-cut"].examples] == [5]
    perhaps = groups["perhaps-too-long"]
    assert (perhaps.level, perhaps.count) == (Level.WARNING, 3)
    assert [one.place.line for one in perhaps.examples] == [2, 3, 4]
    assert "about" in perhaps.examples[0].message
    note = groups["estimated"]
    assert note.level is Level.NOTE
    assert "20% fewer to 20% more" in note.examples[0].message
    safe = mathematics.ceil(126 * 1.2)
    assert (
        f"is {safe:,} (126 by the estimate alone)" in groups["smallest-limit"].examples[0].message
    )
    assert set(found(rules_of(None, safe), rows)) == {"estimated"}


def test_a_cache_is_perhaps_too_small_by_an_estimate() -> None:
    export = ExportBlock(format="gguf", kv_cache=100)
    row = text_example(1, "a" * 200, "b" * 160)
    groups = found(rules_of(None, export=export), [row])
    found_group = groups["kv-cache-perhaps-too-small"]
    assert found_group.level is Level.WARNING
    assert "are estimated at 91 tokens in the longest row; with" in found_group.examples[0].message


def test_a_row_that_cannot_be_rendered_is_said_to_be_uncounted(
    tokenizer: Path, tmp_path: Path
) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text("{{ raise_exception('no user') }}", encoding="utf-8")
    tokens = replace(rules_of(tokenizer).tokens, template=template)
    groups = found(rules_of(tokenizer, 200, tokens=tokens), [SHORT])
    assert groups["not-counted"].level is Level.WARNING
    assert "no user" in groups["not-counted"].examples[0].message


def test_chats_without_a_template_are_said_to_be_counted_as_lines(tmp_path: Path) -> None:
    groups = found(rules_of(make_tokenizer(tmp_path, None)), [SHORT, text_example(2, "a", "b")])
    assert (groups["no-template"].level, groups["no-template"].count) == (Level.WARNING, 1)


def test_parts_merge_into_the_report_of_the_whole(tokenizer: Path) -> None:
    rows = [LONG_PROMPT, LONG_ANSWER, SHORT] * 4
    rows = [replace(row, line=number) for number, row in enumerate(rows, start=1)]
    export = ExportBlock(format="gguf", kv_cache=150, prefill=10)
    rules = rules_of(tokenizer, 200, export=export)
    whole = check_of(rules, rows)
    for cut in range(len(rows) + 1):
        later = [replace(row, line=row.line - cut) for row in rows[cut:]]
        first, second = check_of(rules, rows[:cut]), check_of(rules, later)
        second = pickle.loads(pickle.dumps(second))  # noqa: S301 (as it comes from a process)
        second.shift(cut)
        first.merge(second)
        assert list(first.conclude()) == list(whole.conclude())
        assert list(first.figures()) == list(whole.figures())


def test_a_check_travels_without_its_tokenizer(tokenizer: Path) -> None:
    check = check_of(rules_of(tokenizer, 200), [SHORT] * 100)
    assert len(pickle.dumps(check)) < 5000


def test_no_rows_have_no_figures_and_no_findings(tokenizer: Path) -> None:
    check = check_of(rules_of(tokenizer, 200, too_long="drop"), [])
    assert list(check.conclude()) == []
    assert list(check.figures()) == []


def test_figures_show_every_limit_and_exact_percentiles(tokenizer: Path) -> None:
    rows = [chat_example(line, "a " * line, "b") for line in range(1, 101)]
    export = ExportBlock(format="gguf", kv_cache=150, prefill=30)
    figures = list(check_of(rules_of(tokenizer, 120, export=export), rows).figures())
    prompts, answers, whole = [one for one in figures if isinstance(one, Histogram)]
    assert prompts.marks == (("prefill", 30),)
    assert whole.marks == (("max_length", 120), ("kv_cache", 150))
    for histogram in (prompts, answers, whole):
        assert sum(rows for *_, rows in histogram.bins) == 100
        assert len(histogram.bins) <= 20
    lengths, limits = [one for one in figures if isinstance(one, Table)]
    totals = sorted(count.total for count in counts(tokenizer, *rows))
    row = dict(zip(lengths.header, lengths.rows[2], strict=True))
    assert row["all"] == sum(totals)
    assert [row[name] for name in ("least", "median", "p90", "p95", "p99", "most")] == [
        *(totals[index] for index in (0, 49, 89, 94, 98, 99))
    ]
    assert row["longest at"] == "rows:100"
    assert limits.rows[0] == ("smallest that loses no answer", totals[-1], 0)
    assert limits.rows[1] == ("max_length", 120, sum(total > 120 for total in totals))


# --- The trap: a published training at max_length 512, whose tools alone took more ---------------


@pytest.fixture(scope="module")
def functiongemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("functiongemma"), "functiongemma")


def test_cycling_copilot_fails_at_512_and_passes_at_the_limit_that_is_named(
    functiongemma: Path,
) -> None:
    rows = cycling_copilot(outside_data())
    assert len(rows) == 942
    groups = found(rules_of(functiongemma, 512), rows)
    assert groups["answer-lost"].level is Level.ERROR
    assert groups["answer-lost"].count == 942
    assert "no-rows-left" in errors(groups)
    place = groups["smallest-limit"].examples[0]
    smallest = max(count.total for count in counts(functiongemma, *rows))
    assert f"loses no answer is {smallest:,};" in place.message
    assert found(rules_of(functiongemma, smallest), rows) == {}
    one_less = found(rules_of(functiongemma, smallest - 1), rows)
    assert errors(one_less) == {"end-of-turn-cut"}
    assert one_less["end-of-turn-cut"].examples[0].place == place.place


def test_with_the_tools_of_cycling_copilot_prompt_and_answer_are_told_apart(
    functiongemma: Path,
) -> None:
    tools = tools_of(outside_data() / "cycling-copilot")
    call = [("get_ride_status", {"query": "speed"})]
    usual = call_example(1, "How fast am I?", call, tools)
    long_prompt = call_example(2, "How fast am I? " * 80, call, tools)
    long_answer = call_example(3, "?", [("get_ride_status", {"query": "speed " * 400})], tools)
    [limit] = [count.total + 100 for count in counts(functiongemma, usual)]
    groups = found(rules_of(functiongemma, limit), [usual, long_prompt, long_answer])
    lines = {code: [one.place.line for one in groups[code].examples] for code in errors(groups)}
    assert lines == {"answer-lost": [2], "answer-cut": [3]}


def test_the_trap_is_found_by_an_estimate_too() -> None:
    rows = cycling_copilot(outside_data())
    tokens = TokenRules(
        "m", None, FUNCTIONGEMMA_FILE, "the fixture", 0.231, "the catalog", (0.2, 0.4)
    )
    groups = found(rules_of(None, 512, tokens=tokens), rows)
    assert groups["answer-lost"].count == 942
    assert groups["answer-lost"].level is Level.ERROR
