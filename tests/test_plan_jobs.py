"""Plans of hf-jobs: recipe, machine, cost, and what cannot run; and what Vertex cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.machine_told import cost_text
from orchestrator.errors import InputError
from orchestrator.plan import Plan
from orchestrator.spec import SpecError
from tests.plans import JOBS, jobs_plan
from tests.router_spec import changed, plan, without_evaluation

TEXT = without_evaluation(JOBS.read_text(encoding="utf-8"))


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
    made = planned(tmp_path, timeout="  timeout: 8m")
    (warning,) = [one for one in made.warnings if "the timeout of 8m is less than" in one]
    assert "with `max_attempts: 2` another attempt goes on from the last one" in warning
    assert made.refusals == ()


def test_what_a_timeout_costs_at_most_counts_all_attempts(tmp_path: Path) -> None:
    once = jobs_plan(tmp_path).plan.estimate.basis
    thrice = jobs_plan(tmp_path, more="\nmax_attempts: 3\n").plan.estimate.basis
    assert "the timeout of 2h costs $0.80 at most" in once
    assert "the timeout of 2h, of 3 attempts, costs $2.40 at most" in thrice


def test_a_timeout_that_stops_the_training_at_its_best_is_refused(tmp_path: Path) -> None:
    made = planned(tmp_path, timeout="  timeout: 2m")
    (refusal,) = made.refusals
    assert "the timeout of 2m stops the job before its end" in refusal
    proposed = planned(tmp_path, timeout="").machine
    assert proposed is not None
    assert f"`timeout: {proposed.timeout_s // 60}m`" in refusal
    assert made.warnings == ()


@pytest.mark.parametrize("length", ["0h", "60d", "0.0001s", "two hours", "7200"])
def test_a_timeout_that_no_job_can_have_names_its_place(tmp_path: Path, length: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, timeout=f"  timeout: {length}")
    (problem,) = caught.value.problems
    assert "`service.timeout`" in problem.message
    assert str(problem.where).endswith(":18:12")
    assert "90m" in (problem.hint or "")


@pytest.mark.parametrize(
    ("line", "message", "column"),
    [
        ("  targets: [q_proj, experts]", "no linear layer `experts`", ":21"),
        ("  targets: [self_attn.q_proj]", "no linear layer `self_attn.q_proj`", ":13"),
        ("  last_layers: 19", "has 18 blocks, not 19", ":16"),
    ],
)
def test_parts_that_the_model_does_not_have_are_refused_with_their_place(
    tmp_path: Path, line: str, message: str, column: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        planned(tmp_path, mode=f"  mode: peft\n{line}")
    assert str(caught.value.where).endswith(column)


def test_prompts_that_fill_the_length_by_any_estimate_are_refused(tmp_path: Path) -> None:
    made = planned(tmp_path, max_length="  max_length: 128")
    assert any("no answer is left to train on" in refusal for refusal in made.refusals)
    assert planned(tmp_path, max_length="  max_length: 480").refusals == ()


def test_a_namespace_and_an_image_are_names(tmp_path: Path) -> None:
    for line, field in (("namespace: a/b c", "namespace"), ("image: ''", "image")):
        with pytest.raises(SpecError, match=f"`service.{field}`"):
            planned(tmp_path, flavor=f"  flavor: t4-small\n  {line}")


def code_plan(folder: Path, *, flavor: str) -> Plan:
    """The plan of the shipped code agent, merged and exported at its end."""
    code = JOBS.parent.parent / "code"
    text = (code / "llama-3.1-8b.yaml").read_text(encoding="utf-8")
    text = text.replace("  flavor: a10g-large\n", flavor) + "\nexport: {format: gguf}\n"
    return plan(folder, spec=text, data=code / "sample.jsonl").plan


def test_a_merge_that_the_machine_has_no_memory_for_is_refused(tmp_path: Path) -> None:
    (refusal,) = code_plan(tmp_path, flavor="  flavor: a10g-small\n").refusals
    assert "the merge, in 32 bits, needs 35 GB" in refusal
    chosen = code_plan(tmp_path, flavor="")
    assert chosen.refusals == ()
    assert chosen.machine is not None
    assert chosen.machine.merge_timeout_s is not None
    assert chosen.machine.merge_timeout_s > 3600


def test_an_unknown_model_is_told_what_its_service_tunes(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, base_model="base_model: mistralai/Mistral-7B-v0.3")
    (problem,) = caught.value.problems
    assert "Known: google/functiongemma-270m-it" in (problem.hint or "")
    assert "qwen" not in (problem.hint or "")


def test_merge_and_export_have_their_cost_and_their_time(tmp_path: Path) -> None:
    plain = jobs_plan(tmp_path).plan
    made = jobs_plan(tmp_path, adapter=True, more="\nexport: {format: gguf}\n").plan
    assert plain.estimate.finishing_usd is None
    assert made.estimate.finishing_usd is not None
    assert 0 < made.estimate.finishing_usd[0] < made.estimate.finishing_usd[1]
    assert made.machine is not None
    assert (made.machine.merge_timeout_s, made.machine.export_timeout_s) == (1800, 1800)
    assert "for merge and export" in cost_text(made)
    assert "for the export" in cost_text(
        jobs_plan(tmp_path, more="\nexport: {format: gguf}\n").plan
    )


def test_an_unknown_flavor_is_named_with_its_place_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, flavor="  flavor: a10-small")
    (problem,) = caught.value.problems
    assert "no flavor `a10-small`" in problem.message
    assert str(problem.where).endswith(":17:11")
    assert "a10g-small" in (problem.hint or "")


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
    image = "\n  image: example/trl:1"
    old = planned(tmp_path, batch_size=line, flavor=f"  flavor: t4-small{image}")
    assert any("no card for FlashAttention 2" in one for one in old.refusals)
    new = {"flavor": f"  flavor: a10g-small{image}", "precision": "  precision: bf16"}
    made = planned(tmp_path, batch_size=line, **new)
    assert made.refusals == ()
    assert made.machine is not None
    assert made.machine.image == "example/trl:1"


def test_packed_rows_are_as_long_as_the_length_that_they_fill(tmp_path: Path) -> None:
    text = "  flavor: a10g-large\n  image: example/trl:1"
    plain, packed = (
        planned(
            tmp_path,
            flavor=text,
            precision="  precision: bf16",
            max_length="  max_length: 8192",
            batch_size=f"  batch_size: 4\n  packing: {packing}",
        ).machine
        for packing in ("false", "true")
    )
    assert plain is not None
    assert packed is not None
    assert packed.memory_bytes is not None
    assert plain.memory_bytes is not None
    assert packed.memory_bytes > plain.memory_bytes + 10**9
    kept = next(term for term in packed.memory if term.name.startswith("activations"))
    assert kept.formula.startswith(f"{2 * 8192} tokens")
