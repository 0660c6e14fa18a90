"""Which ways to answer there are: what is published, and what is told where one is missing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.attempt_requests import may_fail
from orchestrator.evaluation.evidence import AnswerFigures, ConditionFigures, Evidence
from orchestrator.evaluation_actions import EvaluationActions
from orchestrator.evaluation_warnings import warnings
from orchestrator.plan import EvaluationPlan
from orchestrator.spec import GateBlock
from tests.plans import jobs_plan

ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}
CUT = "were cut; the plan allows 64 tokens: evaluation.max_new_tokens"


@pytest.mark.parametrize(
    ("names", "base", "found"),
    [
        (ADAPTER, "acme/m", "adapter"),
        (ADAPTER, "acme/other", None),
        (ADAPTER | {"config.json"}, "acme/m", "adapter"),
        (ADAPTER | {"config.json"}, "acme/other", None),
        ({"config.json", "model.safetensors"}, "", "model"),
        ({"config.json", "model-00001-of-00002.safetensors"}, "", "model"),
        ({"config.json", "last/model.safetensors"}, "", None),
        ({"config.json", "optimizer.safetensors"}, "", None),
        ({"README.md"}, "", None),
    ],
)
def test_what_is_published_answers_as_what_it_is(
    tmp_path: Path, names: set[str], base: str, found: str | None
) -> None:
    def download(_repo: str, _head: str, _name: str, copy: Path) -> None:
        copy.write_text(json.dumps({"base_model_name_or_path": base}), encoding="utf-8")

    connections = SimpleNamespace(hub=SimpleNamespace(download=download))
    plan = SimpleNamespace(model=SimpleNamespace(hub_id="acme/m"))
    run = SimpleNamespace(target=SimpleNamespace(repo="acme/target"), plan=plan)
    actions = EvaluationActions(cast(Any, connections))
    facts = cast(Any, SimpleNamespace(run=run))
    assert actions._published(facts, "f00", names, tmp_path) == found


def test_no_more_examples_are_planned_than_there_are_training_rows(tmp_path: Path) -> None:
    more = "evaluation: {scorer: calls, few_shot: 32}\ngates: none\n"
    plan = jobs_plan(tmp_path, rows=10, replace=("gates: none\n", more)).plan
    assert plan.evaluation is not None
    assert plan.evaluation.shots == plan.split("train").rows == 8


def test_only_ways_that_no_gate_asks_for_may_fail() -> None:
    asked = (GateBlock(metric="tool", better_than="published"),)
    facts = cast(
        Any,
        SimpleNamespace(
            last=lambda _: None, run=SimpleNamespace(plan=SimpleNamespace(gates=asked))
        ),
    )
    names = ("tuned", "base", "few-shot", "published")
    assert [name for name in names if may_fail(name, facts)] == ["few-shot"]


def evidence(*conditions: ConditionFigures) -> Evidence:
    return Evidence("text", "test", 8, "0", 0, (), conditions, (), (), (), ())


def answers(name: str, **more: int) -> ConditionFigures:
    counts = {"rows": 8, "missing": 0, "empty": 0, "different": 8, "commonest_rows": 1, **more}
    return ConditionFigures(name, "", (), answers=AnswerFigures(**counts))


def test_a_rival_without_answers_and_answers_that_were_cut_are_told() -> None:
    how = EvaluationPlan(
        scorer="text",
        service="hf-jobs",
        split="test",
        rows=8,
        max_new_tokens=64,
        batch_size=8,
        shots=3,
        conditions=("tuned", "base", "few-shot", "published"),
    )
    found = evidence(answers("tuned", cut=3), answers("few-shot", cut=0, missing=2))
    told = list(warnings(how, found, nothing_published=True))
    assert told == [
        "warning: base was planned and has no answers: nothing is compared with it",
        f"warning: tuned: 3 of 8 answers {CUT}",
        "warning: few-shot: 2 of 8 rows have no answer",
    ]
    more = set(warnings(how, found, nothing_published=False)) - set(told)
    assert [line.split()[1] for line in more] == ["published"]
