"""The kind `service`: what Vertex documents of rows and files, and what the facts do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalog import load_catalog
from orchestrator.dataset.checks.service import ServiceCheck, SplitSize, split_groups
from orchestrator.dataset.example import Call, Example, Message, Role, Tool
from orchestrator.dataset.report import Level
from orchestrator.dataset.rules import Rules, TokenRules
from orchestrator.spec import DataBlock

TOOL = Tool("ride", {"type": "object"}, {"type": "function", "function": {"name": "ride"}})


def rules(service: str = "vertex") -> Rules:
    tokens = TokenRules("m", None, None, "", 0.25, "")
    return Rules(
        data=DataBlock(),
        spec_folder=Path(),
        tools=(),
        tokens=tokens,
        service=service,
        max_length=None,
        max_length_source="",
        too_long="error",
        export=None,
        seed=1,
    )


def chat(
    *roles: Role, line: int = 1, calls: tuple[Call, ...] = (), tools: tuple[Tool, ...] = ()
) -> Example:
    prompt = tuple(Message(role, "text") for role in roles)
    answer = (Message("assistant", None if calls else "yes", calls),)
    return Example("rows.jsonl", line, prompt, answer, {}, tools)


def texts(split: str | None = None, size: int = 1) -> Example:
    return Example("rows.jsonl", 1, "p", "c" * size, {}, split=split)


def codes(example: Example, service: str = "vertex") -> list[tuple[Level, str]]:
    return [(f.level, f.code) for f in ServiceCheck(rules(service)).examine([example])]


@pytest.mark.parametrize("roles", [("user",), ("system", "user")])
def test_documented_roles_pass(roles: tuple[Role, ...]) -> None:
    assert codes(chat(*roles)) == []


def test_texts_pass() -> None:
    assert codes(texts()) == []


def test_a_role_that_vertex_does_not_document_is_an_error_with_source_and_date() -> None:
    (finding,) = ServiceCheck(rules()).examine([chat("developer", "user", line=7)])
    assert (finding.level, finding.code) == (Level.ERROR, "role-not-taken")
    assert str(finding.place) == "rows.jsonl:7"
    limits = load_catalog().vertex
    assert limits.source in finding.hint
    assert limits.checked.isoformat() in finding.hint


@pytest.mark.parametrize(
    "example",
    [
        chat("user", tools=(TOOL,)),
        chat("user", calls=(Call("ride", {}),)),
        chat("user", "assistant", "tool"),
    ],
    ids=["tools", "calls", "a tool's reply"],
)
def test_tools_on_vertex_are_a_warning_for_nobody_documents_them(example: Example) -> None:
    assert codes(example) == [(Level.WARNING, "tools-undocumented")]


def test_a_chat_of_one_message_is_an_error() -> None:
    assert codes(chat()) == [(Level.ERROR, "one-message")]


def test_hf_jobs_takes_all_of_these() -> None:
    for example in (chat(), chat("developer", "user"), chat("user", tools=(TOOL,))):
        assert codes(example, "hf-jobs") == []


def sizes(train: tuple[int, int], validation: tuple[int, int]) -> list[SplitSize]:
    return [SplitSize("train", *train, "t"), SplitSize("validation", *validation, "v")]


def found(
    train: tuple[int, int], validation: tuple[int, int], service: str = "vertex"
) -> list[str]:
    return [group.code for group in split_groups(sizes(train, validation), service)]


def test_a_validation_file_of_exactly_a_quarter_passes_and_a_byte_more_does_not() -> None:
    assert found((4, 400), (1, 100)) == []
    assert found((4, 400), (1, 101)) == ["validation-too-large"]
    assert found((4, 400), (1, 101), "hf-jobs") == []


def test_five_thousand_validation_rows_pass_and_one_more_does_not() -> None:
    assert found((10**6, 10**9), (5000, 10)) == []
    assert found((10**6, 10**9), (5001, 10)) == ["validation-too-many-rows"]


def test_both_limits_are_named_together() -> None:
    assert found((1, 1), (5001, 10)) == ["validation-too-large", "validation-too-many-rows"]


def test_no_training_rows_is_an_error_and_no_validation_rows_a_warning() -> None:
    (group,) = split_groups(sizes((0, 0), (1, 1)), "vertex")
    assert (group.level, group.code) == (Level.ERROR, "no-training-rows")
    (group,) = split_groups(sizes((1, 1), (0, 0)), "hf-jobs")
    assert (group.level, group.code) == (Level.WARNING, "no-validation-rows")


def test_files_of_splits_are_measured_as_the_service_is_sent_them() -> None:
    whole, first, second = (ServiceCheck(rules()) for _ in range(3))
    rows = [texts("train", 200), texts("validation", 90), texts("train", 100)]
    whole.examine(rows)
    first.examine(rows[:1])
    second.examine(rows[1:])
    first.merge(second)
    assert list(first.figures()) == list(whole.figures())
    assert list(first.conclude()) == list(whole.conclude())
    (group,) = whole.conclude()
    assert group.code == "validation-too-large"
    line = len(b'{"prompt":"p","completion":""}\n')
    assert f"({line + 90} of {2 * line + 300})" in group.examples[0].message


def test_rows_that_are_still_to_be_split_conclude_nothing() -> None:
    check = ServiceCheck(rules())
    check.examine([texts()])
    assert (list(check.conclude()), list(check.figures())) == ([], [])
