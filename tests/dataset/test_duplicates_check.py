"""Equal prompts are found in a file and across splits, with both lines named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.duplicates import DuplicatesCheck
from orchestrator.dataset.checks.prompt_index import PromptIndex
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.report import Group, Level
from tests.dataset.test_engine_parts import rules


def example(
    line: int, prompt: Any = "p", answer: Any = "a", *, split: str | None = None, **more: Any
) -> Example:
    return Example(f"{split or 'rows'}.jsonl", line, prompt, answer, {}, split=split, **more)


def conclude(*parts: list[Example]) -> dict[str, Group]:
    checks = []
    for part in parts:
        check = DuplicatesCheck(rules())
        assert list(check.examine(part)) == []
        checks.append(pickle.loads(pickle.dumps(check)))  # noqa: S301 (as from another process)
    for later in checks[1:]:
        checks[0].merge(later)
    return {group.code: group for group in checks[0].conclude()}


def test_rows_that_differ_are_not_named() -> None:
    assert conclude([example(1, "a"), example(2, "b", "a"), example(3, "ab", "")]) == {}


def test_an_equal_row_names_the_earlier_line() -> None:
    found = conclude([example(1), example(4, "other"), example(9)])
    (finding,) = found["duplicate-row"].examples
    assert (finding.place.line, found["duplicate-row"].level) == (9, Level.WARNING)
    assert "line 1" in finding.message
    assert "one split" in finding.hint


def test_one_prompt_with_two_answers_is_a_contradiction() -> None:
    found = conclude([example(1), example(2, answer="b"), example(3, answer="b"), example(4)])
    assert found["contradictory-answers"].count == 1
    assert found["contradictory-answers"].examples[0].place.line == 2
    assert [f.place.line for f in found["duplicate-row"].examples] == [3, 4]


def test_a_prompt_in_train_and_test_is_an_error_whatever_its_answer() -> None:
    found = conclude([example(7, split="train")], [example(3, answer="b", split="test")])
    assert set(found) == {"across-splits"}
    group = found["across-splits"]
    assert (group.level, group.count) == (Level.ERROR, 1)
    assert str(group.examples[0].place) == "test.jsonl:3"
    assert "train.jsonl:7" in group.examples[0].message


def test_turns_and_tools_make_the_prompt() -> None:
    def chat(*texts: str) -> tuple[Message, ...]:
        return tuple(Message("user", text) for text in texts)

    tool = Tool("t", {}, {"name": "t"})
    assert conclude([example(1, chat("a", "b")), example(2, chat("a\nuser: b"))]) == {}
    assert conclude([example(1, chat("a")), example(2, chat("a"), tools=(tool,))]) == {}
    assert "duplicate-row" in conclude([example(1, chat("a")), example(2, chat("a"))])


def test_the_order_of_arguments_makes_no_other_answer() -> None:
    def call(**arguments: int) -> tuple[Message, ...]:
        return (Message("assistant", None, (Call("f", arguments),)),)

    found = conclude([example(1, answer=call(x=1, y=2)), example(2, answer=call(y=2, x=1))])
    assert set(found) == {"duplicate-row"}
    found = conclude([example(1, answer=call(x=1)), example(2, answer=call(x=2))])
    assert set(found) == {"contradictory-answers"}


def test_counts_are_exact_and_examples_are_the_first_in_the_order_of_lines() -> None:
    rows = [example(n + 1, f"p{n % 700}", f"a{n % 700}") for n in range(4200)]
    found = conclude(rows)
    assert found["duplicate-row"].count == 3500
    assert [f.place.line for f in found["duplicate-row"].examples] == [701, 702, 703, 704, 705]


@pytest.mark.parametrize("memory_bytes", [1, 300, 1 << 30])
def test_what_went_to_disk_is_found_again(
    monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    monkeypatch.setattr("orchestrator.dataset.checks.prompt_index._MEMORY_BYTES", memory_bytes)
    parts = [[example(n, f"p{n % 50}") for n in range(s, s + 40)] for s in range(1, 161, 40)]
    found = conclude(*parts)
    assert found["duplicate-row"].count == 160 - 50
    assert found["duplicate-row"].examples[0].place.line == 51


def test_a_shifted_part_has_the_lines_of_its_file() -> None:
    first, second = PromptIndex(), PromptIndex()
    first.add([(b"a", b"", 1)], "f", None)
    second.add([(b"a", b"", 2)], "f", None)
    second.shift(10)
    first.merge(second)
    (entries,) = first.repeated()
    assert [entry.line for entry in entries] == [1, 12]


def test_the_index_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("orchestrator.dataset.checks.prompt_index._MEMORY_BYTES", 1)
    conclude([example(1), example(2)])
    assert list(tmp_path.iterdir()) == []
