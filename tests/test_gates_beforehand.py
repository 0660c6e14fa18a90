"""Gates that nothing could pass, and scorers that judge nothing, are refused by the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.plan import Plan
from tests.plans import JOBS
from tests.router_spec import SPEC, plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all plans: the rows, which are always the same, are prepared once."""
    return tmp_path_factory.mktemp("planned")


def judged(folder: Path, gates: str, evaluation: str = "scorer: route-plan") -> Plan:
    spec = SPEC.replace("gates: none\n", f"gates:\n  - {gates}\n")
    return plan(folder, spec=f"{spec}evaluation: {{{evaluation}}}\n").plan


@pytest.mark.parametrize(
    "gate",
    [
        "{metric: tool_recall, min: 0.8}",
        "{metric: tool_recall, min: 1}",
        "{metric: hallucinated_tools, max: 0}",
        "{metric: length_ratio, min: 0.5, max: 2}",
        "{metric: tool_recall, slice: {archetype: four-step}, min: 0.8}",
        "{metric: 'tool_recall[/math]', min: 0.5}",
        "{metric: audit_mean, min: 4.5}",
    ],
)
def test_a_gate_that_the_expected_answers_pass_is_planned(folder: Path, gate: str) -> None:
    assert judged(folder, gate).errors == ()


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("{metric: tool_recall, min: 95}", "what is expected has 1, and at least 95 is wanted"),
        ("{metric: tool_recall, max: -0.5}", "what is expected has 1, and at most -0.5 is wanted"),
        ("{metric: hallucinated_tools, min: 0.8}", "what is expected has 0, and at least 0.8"),
        (
            "{metric: tool_recall, slice: {archtype: four-step}, min: 0.8}",
            "no row of test is in that slice. There are archetype: four-step, ",
        ),
        ("{metric: 'tool_recall[/mth]', min: 0.8}", "there are tool_recall[/code], "),
        ("{metric: 'json_validity[/math]', min: 0.8}", "no row counts for it"),
        ("{metric: think_kept, min: 0.8}", "no row counts for it"),
        ("{metric: audit_mean, min: 6}", "people score from 0 to 5"),
    ],
)
def test_a_gate_that_not_even_the_expected_answers_pass_is_refused_before_anything_is_paid(
    folder: Path, gate: str, why: str
) -> None:
    (error,) = judged(folder, gate).errors
    assert "can never pass" in error
    assert why in error


def test_a_comparison_needs_rows_enough_in_its_own_slice(folder: Path) -> None:
    """Of two test rows one is in the slice: 0.5 to the first, where 0.25 would be sure enough."""
    gate = "{metric: tool_recall, better_than: base, confidence: 0.7%s}"
    assert judged(folder, gate % "").errors == ()
    (error,) = judged(folder, gate % ", slice: {archetype: four-step}").errors
    assert "with 1 rows nothing is better" in error


@pytest.mark.parametrize(
    "gates", ["gates: none\n", "gates:\n  - {metric: calls_exact, min: 0.1}\n"]
)
def test_a_scorer_that_any_text_satisfies_is_refused(folder: Path, gates: str) -> None:
    spec = SPEC.replace("gates: none\n", gates)
    (error,) = plan(folder, spec=f"{spec}evaluation: {{scorer: calls}}\n").plan.errors
    assert "the scorer calls is not for these rows" in error
    assert "calls_exact 1" in error


def test_what_only_a_model_at_work_can_tell_is_left_to_the_evaluation(folder: Path) -> None:
    assert judged(folder, "{metric: loss, max: 2}", "scorer: text").errors == ()
    assert judged(folder, "{metric: cut, max: 0.1}", "scorer: latency").errors == ()
    (error,) = judged(folder, "{metric: chrf, min: 101}", "scorer: text").errors
    assert "what is expected has 100" in error


def test_files_of_answers_may_know_slices_that_the_rows_do_not(folder: Path) -> None:
    gate = "{metric: tool_recall, slice: {customer: new}, min: 0.8}"
    given = "scorer: route-plan, service: file"
    assert judged(folder, gate, given).errors == ()


def test_calls_are_read_in_the_syntax_of_their_rows_not_in_that_of_the_model(
    folder: Path,
) -> None:
    """The support router's rows hold JSON; FunctionGemma answers in a syntax of its own."""
    for name in ("support-router.jsonl", "support-router.tools.json"):
        (folder / name).write_bytes((JOBS.parent / name).read_bytes())
    spec = JOBS.read_text(encoding="utf-8")
    assert "scorer: calls" in spec
    found = plan(folder, spec=spec, data=folder / "support-router.jsonl", limit=60).plan
    assert found.gates
    assert found.errors == ()
