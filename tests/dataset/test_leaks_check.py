"""Near-duplicates across given splits are errors with both rows shown; else they are notes."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.checks.leaks import LeaksCheck
from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.report import Level
from tests.dataset.checked_rows import checked, checked_in_parts, row, rules_of

QUESTION = "How do I reset the password of my account at your shop"
KEY = ("leaks", Level.ERROR, "near-duplicate-leak")
GROUPS = ("leaks", Level.NOTE, "near-duplicates")


def check() -> LeaksCheck:
    return LeaksCheck(rules_of())


def test_a_validation_question_nearly_known_from_training_is_an_error_with_both_rows() -> None:
    rows = [
        row(1, "Where is my parcel?", split="train", file="train.jsonl"),
        row(2, QUESTION, split="train", file="train.jsonl"),
        row(9, f"{QUESTION}?!", split="validation", file="validation.jsonl"),
        row(10, f"{QUESTION} now?", split="test", file="test.jsonl"),
    ]
    report = checked(check(), rows)
    group = report.groups[KEY]
    assert group.count == 2
    assert report.error_count == 2
    places = [str(finding.place) for finding in group.examples]
    assert places == ["validation.jsonl:9", "test.jsonl:10"]
    assert "train.jsonl:2" in group.examples[0].message
    assert "similarity 1.00" in group.examples[0].message
    assert "similarity 0.92" in group.examples[1].message
    assert QUESTION in group.examples[0].message


def test_equal_prompts_are_left_to_the_kind_duplicates() -> None:
    rows = [row(1, QUESTION, split="train"), row(2, QUESTION, split="validation")]
    assert checked(check(), rows).findings == []


def test_the_same_question_under_another_system_prompt_is_a_leak() -> None:
    def chat(line: int, system: str, split: str) -> Example:
        prompt = (Message("system", system), Message("user", QUESTION))
        return Example("rows.jsonl", line, prompt, "yes", {}, split=split)

    rows = [chat(1, "Be brief.", "train"), chat(2, "Be kind.", "test")]
    assert checked(check(), rows).groups[KEY].count == 1


def test_a_system_prompt_that_all_share_makes_no_leak() -> None:
    def chat(line: int, text: str, split: str) -> Example:
        prompt = (Message("system", QUESTION * 9), Message("user", text))
        return Example("rows.jsonl", line, prompt, "yes", {}, split=split)

    rows = [chat(1, "Where are you?", "train"), chat(2, "What is snow?", "test")]
    assert checked(check(), rows).findings == []


def test_within_a_split_near_duplicates_are_a_note() -> None:
    rows = [row(1, QUESTION, split="train"), row(2, f"{QUESTION}?", split="train")]
    report = checked(check(), rows)
    assert KEY not in report.groups
    assert report.groups[GROUPS].count == 1


def test_without_given_splits_groups_are_a_note_with_the_largest_shown() -> None:
    rows = [row(n, f"{QUESTION}{'?' * n}") for n in range(1, 4)]
    rows += [
        row(4, "Where is the big red parcel that I sent"),
        row(5, "Where is the big red parcel that I sent?"),
    ]
    report = checked(check(), rows)
    group = report.groups[GROUPS]
    assert report.error_count == 0
    assert group.count == 2
    assert "3 questions" in group.examples[0].message
    assert "2 groups of near-duplicates, 5 rows in all" in group.examples[0].message
    assert "one split" in group.examples[0].hint


def test_questions_of_one_template_are_a_note_of_their_own_even_across_splits() -> None:
    rows = [
        row(n, f"Add {n} and {n + 1}", split="train" if n % 2 else "validation")
        for n in range(1, 8)
    ]
    report = checked(check(), rows)
    assert [group.code for group in report.findings] == ["same-template"]
    assert "7 questions differ only in their numbers" in report.findings[0].examples[0].message


def test_shown_questions_are_redacted() -> None:
    text = f"{QUESTION} for anna.schmidt@firma.de"
    rows = [row(1, text, split="train"), row(2, f"{text}?", split="test")]
    printed = json.dumps(checked(check(), rows).to_json())
    assert "anna" not in printed
    assert "[EMAIL]" in printed


_PROMPTS = st.sampled_from(
    [QUESTION, f"{QUESTION}?", f"{QUESTION} now", "Add 3 and 4", "Add 3 and 5", "Where is it"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(_PROMPTS, st.sampled_from(["train", "validation", "test"])), max_size=14),
    st.lists(st.integers(0, 14), max_size=3),
)
def test_parts_merged_find_what_the_whole_finds(
    drawn: list[tuple[str, str]], cuts: list[int]
) -> None:
    rows = [row(n, text, split=split) for n, (text, split) in enumerate(drawn, 1)]
    cuts = [min(cut, len(rows)) for cut in cuts]
    assert checked_in_parts(LeaksCheck, rules_of(), rows, cuts) == checked(check(), rows)
