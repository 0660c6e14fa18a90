"""Plans of hf-jobs: recipe, machine, cost, and what cannot run; and what Vertex cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.plan import Plan
from orchestrator.spec import SpecError
from tests.plans import JOBS, jobs_plan
from tests.router_spec import changed, plan

TEXT = JOBS.read_text(encoding="utf-8")


def planned(folder: Path, **replaced: str) -> Plan:
    """The plan of the shipped support router with lines replaced, named by their first word."""
    text = TEXT
    for name, line in replaced.items():
        (found,) = [one for one in TEXT.splitlines() if one.strip().startswith(f"{name}:")][:1]
        text = text.replace(found, line, 1)
    for name in ("support-router.jsonl", "support-router.tools.json"):
        (folder / name).write_bytes((JOBS.parent / name).read_bytes())
    return plan(folder, spec=text, data=folder / "support-router.jsonl", limit=30).plan


def test_the_recipe_of_the_spec_is_in_the_plan(tmp_path: Path) -> None:
    made = jobs_plan(tmp_path).plan
    recipe = made.recipe
    assert recipe is not None
    assert (recipe.batch_size, recipe.gradient_accumulation) == (4, 3)
    assert (recipe.weight_decay, recipe.warmup_ratio, recipe.scheduler) == (0.02, 0.05, "cosine")
    assert recipe.answer_syntax == "functiongemma"
    assert made.limits is None


def test_the_machine_has_a_price_a_timeout_and_its_memory_by_term(tmp_path: Path) -> None:
    machine = jobs_plan(tmp_path).plan.machine
    assert machine is not None
    assert machine.flavor == "t4-small"
    assert machine.timeout_s == 2 * 3600
    assert machine.memory_bytes == sum(term.size_bytes for term in machine.memory)
    assert {"weights", "gradients", "optimizer"} <= {term.name for term in machine.memory}


def test_the_cost_is_a_range_of_the_time_on_the_machine(tmp_path: Path) -> None:
    made = jobs_plan(tmp_path).plan
    machine, estimate = made.machine, made.estimate
    assert machine is not None
    assert machine.low_s is not None
    assert machine.high_s is not None
    assert estimate.least_usd is not None
    assert 0 < estimate.least_usd < estimate.cost_usd
    minutes = -(-machine.high_s // 60)
    assert estimate.cost_usd == pytest.approx(minutes * machine.usd_per_hour / 60, rel=0.05)


def test_without_a_flavor_the_cheapest_that_fits_is_taken(tmp_path: Path) -> None:
    made = planned(tmp_path, flavor="")
    assert made.machine is not None
    assert made.machine.flavor in {"t4-small", "t4-medium", "l4x1", "a10g-small"}
    assert made.refusals == ()


def test_without_a_timeout_the_estimate_decides(tmp_path: Path) -> None:
    made = planned(tmp_path, timeout="")
    assert made.machine is not None
    assert made.machine.high_s is not None
    assert made.machine.timeout_s >= 2 * made.machine.high_s


def test_a_timeout_that_the_training_may_outlast_is_a_warning(tmp_path: Path) -> None:
    made = planned(tmp_path, timeout="  timeout: 3m")
    assert any("the timeout of 3m is less than" in warning for warning in made.warnings)


def test_an_unknown_flavor_is_named_with_its_place_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        planned(tmp_path, flavor="  flavor: a10-small")
    assert "no flavor `a10-small`" in caught.value.message
    assert caught.value.where is not None
    assert caught.value.where.line is not None
    assert "a10g-small" in (caught.value.hint or "")


def test_a_training_that_fits_no_memory_is_refused_with_what_would_help(tmp_path: Path) -> None:
    made = planned(tmp_path, flavor="  flavor: cpu-basic", batch_size="  batch_size: 512")
    (refusal,) = [one for one in made.refusals if "GB and cpu-basic has" in one]
    assert "batch_size: 1" in refusal


def test_an_export_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    made = jobs_plan(tmp_path, more="\nexport: {format: gguf, prefill: 128}\n").plan
    assert any("prefill" in refusal for refusal in made.refusals)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("weight_decay: 0.01", "weight_decay"),
        ("dropout: 0.05", "dropout"),
        ("optimizer: adafactor", "optimizer"),
        ("quantization: 4bit", "quantization"),
        ("plateau: {patience: 2}", "plateau"),
    ],
)
def test_what_vertex_cannot_be_told_names_the_service_that_can(
    tmp_path: Path, line: str, field: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, spec=changed("  mode: peft", f"  mode: peft\n  {line}"))
    (problem,) = caught.value.problems
    assert f"vertex cannot be told `{field}`" in problem.message
    assert "hf-jobs" in (problem.hint or "")
    assert problem.where is not None


def test_a_machine_of_hf_jobs_is_nothing_for_vertex(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="vertex cannot be told `flavor`"):
        plan(tmp_path, spec=changed("name: vertex", "name: vertex\n  flavor: t4-small"))


def test_a_mode_that_changes_all_weights_takes_nothing_of_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="mode full has no quantization"):
        planned(tmp_path, mode="  mode: full\n  quantization: 4bit")


def test_drift_without_validation_rows_is_refused(tmp_path: Path) -> None:
    made = planned(tmp_path, split="  split: {train: 1.0, validation: 0, test: 0}")
    assert any("format_drift looks at validation rows" in one for one in made.refusals)


def test_packing_needs_an_image_that_has_what_it_takes(tmp_path: Path) -> None:
    line = "  batch_size: 4\n  packing: true"
    assert any("FlashAttention" in one for one in planned(tmp_path, batch_size=line).refusals)
    text = "  flavor: t4-small\n  image: example/trl:1"
    made = planned(tmp_path, batch_size=line, flavor=text)
    assert made.refusals == ()
    assert made.machine is not None
    assert made.machine.image == "example/trl:1"
