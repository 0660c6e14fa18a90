"""Memory, time and cost of a training on the machines of hf-jobs, judged by torch where it can."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.catalog import load_catalog
from orchestrator.errors import InputError
from orchestrator.hardware.catalog import DecoderShape
from orchestrator.hardware.estimate import (
    Estimate,
    Flavor,
    TrainingShape,
    choose_flavor,
    estimate,
    format_duration,
    parse_duration,
)
from orchestrator.hardware.memory import block_bytes_per_token, memory_terms
from orchestrator.hardware.timing import estimate_cost, operations_per_token, propose_timeout

JOBS = load_catalog().jobs
GEMMA = JOBS.shapes["google/functiongemma-270m-it"]
LLAMA = JOBS.shapes["meta-llama/Llama-3.1-8B-Instruct"]
SMOL = JOBS.shapes["HuggingFaceTB/SmolLM2-135M-Instruct"]

ROUTER = TrainingShape(
    model=GEMMA,
    mode="full",
    longest=1000,
    batch_size=4,
    gradient_accumulation=3,
    train_rows=92,
    train_tokens=82_800,
    validation_rows=23,
    validation_tokens=20_700,
    epochs=15,
)
CODE = TrainingShape(
    model=LLAMA,
    mode="peft",
    rank=16,
    longest=2048,
    batch_size=4,
    train_rows=9000,
    train_tokens=5_400_000,
    epochs=1,
)


def flavor(name: str) -> Flavor:
    found = JOBS.flavor(name)
    assert found is not None
    return found


def size(found: Estimate, *names: str) -> int:
    sizes = {term.name: term.size_bytes for term in found.memory.terms}
    return sum(sizes[name] for name in names)


# --- Counted by transformers and torch ----------------------------------------------------------


def decoder_config(shape: DecoderShape, **changed: Any) -> Any:
    """The configuration of transformers for these widths."""
    from transformers import Gemma3TextConfig, LlamaConfig

    gemma = shape.family == "gemma3"
    head = shape.head_norm // 2 if gemma else {4096: 128}.get(shape.query, 64)
    widths = {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.query // head,
        "num_key_value_heads": shape.key_value // head,
        "head_dim": head,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }
    return (Gemma3TextConfig if gemma else LlamaConfig)(**{**widths, **changed})


@pytest.mark.parametrize("name", sorted(JOBS.shapes))
def test_parameters_are_those_that_transformers_counts(name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    shape = JOBS.shapes[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(decoder_config(shape))
    assert sum(one.numel() for one in model.parameters()) == shape.parameters
    block = model.model.layers[0]
    assert sum(one.numel() for one in block.parameters()) == shape.block_parameters


KEPT = [
    ("fp32", {"mode": "full", "rank": None}),
    ("bf16", {"mode": "full", "rank": None}),
    ("fp32", {}),
    ("bf16", {}),
    ("fp32", {"rank": 64}),
    ("fp32", {"targets": ("q_proj", "v_proj")}),
    ("fp32", {"targets": ("down_proj",)}),
    ("bf16", {"targets": ("q_proj", "k_proj", "v_proj", "o_proj")}),
]


#: The same kinds of blocks, narrower, and no two widths are equal.
NARROW_LLAMA = SMOL.model_copy(
    update={"hidden": 96, "intermediate": 384, "query": 192, "key_value": 64}
)
NARROW_GEMMA = GEMMA.model_copy(
    update={"hidden": 160, "intermediate": 512, "query": 128, "key_value": 32, "head_norm": 64}
)


@pytest.mark.parametrize("shape", [NARROW_LLAMA, NARROW_GEMMA], ids=["Llama", "Gemma 3"])
@pytest.mark.parametrize(("precision", "changed"), KEPT)
def test_a_block_keeps_what_autograd_saves(
    shape: DecoderShape, precision: Any, changed: dict[str, Any]
) -> None:
    job = replace(CODE, model=shape, batch_size=1, longest=64, **changed)
    saved = saved_bytes(job, precision, 3) - saved_bytes(job, precision, 2)
    if precision == "bf16":  # copies of trained weights are another term
        trained = shape.linear_parameters if job.mode == "full" else job.trainable_parameters
        saved -= 2 * (trained if job.mode == "full" else trained // shape.layers)
    if shape.family == "gemma3":  # 1 + weight of each norm, which does not depend on the rows
        saved -= 4 * (shape.block_norms * shape.hidden + shape.head_norm)
    assert block_bytes_per_token(job, precision) == pytest.approx(saved / 64, rel=0.01)


def saved_bytes(job: TrainingShape, precision: str, layers: int) -> int:
    """What autograd saves in the forward pass of so many blocks, weights apart."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    kinds = {"layer_types": ["full_attention"] * layers} if job.model.head_norm else {}
    config = decoder_config(job.model, num_hidden_layers=layers, vocab_size=300, **kinds)
    half = precision == "bf16"
    frozen = torch.bfloat16 if half and job.mode == "peft" else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=frozen)
    if job.mode == "peft":
        lora = LoraConfig(task_type="CAUSAL_LM", r=job.rank, target_modules=list(job.targets))
        model = get_peft_model(model, lora)
    own = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}
    saved: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        if tensor.untyped_storage()._cdata not in own:
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    ids = torch.randint(0, 300, (job.batch_size, job.longest))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only waits for more, on a busy machine
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
    ):
        model(input_ids=ids, labels=ids, use_cache=False)
    torch.set_num_threads(threads)
    return sum(one.untyped_storage().nbytes() for one in saved.values())


@pytest.mark.parametrize("last_layers", [None, 10])
def test_an_adapter_has_the_parameters_that_peft_makes(last_layers: int | None) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    job = replace(CODE, model=SMOL, last_layers=last_layers, targets=("q_proj", "down_proj"))
    blocks = None if last_layers is None else list(range(SMOL.layers - last_layers, SMOL.layers))
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(decoder_config(SMOL))
        config = LoraConfig(
            r=16, target_modules=["q_proj", "down_proj"], layers_to_transform=blocks
        )
        model = get_peft_model(base, config)
    counted = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert job.trainable_parameters == counted


# --- Memory ---------------------------------------------------------------------------------------


def test_terms_sum_up_and_each_has_its_formula() -> None:
    found = estimate(CODE, flavor("a100-large"))
    assert found.memory.needed_bytes == sum(term.size_bytes for term in found.memory.terms)
    assert all(term.formula and term.size_bytes > 0 for term in found.memory.terms)
    assert size(found, "weights") == 2 * LLAMA.parameters
    assert size(found, "gradients") == 4 * 41_943_040
    assert size(found, "optimizer") == 8 * 41_943_040


def test_four_bits_hold_the_linear_layers_and_nothing_else() -> None:
    found = estimate(replace(CODE, quantization="4bit"), flavor("a10g-large"))
    linear = LLAMA.layers * LLAMA.linear_parameters
    expected = linear * (0.5 + 0.127 / 8) + 2 * (LLAMA.parameters - linear)
    assert size(found, "weights") == pytest.approx(expected, rel=1e-9)


def test_whole_logits_of_a_large_vocabulary_outweigh_the_model() -> None:
    whole = estimate(replace(ROUTER, head_in_tiles=False), flavor("a100-large"))
    tiles = estimate(ROUTER, flavor("a100-large"))
    assert size(whole, "logits and loss") > 4000 * 262_144 * 16
    assert size(tiles, "logits and loss") < size(whole, "logits and loss") / 10
    formula = next(one.formula for one in tiles.memory.terms if one.name == "logits and loss")
    assert "would be 4.2 GB" in formula


def test_checkpointing_takes_less_memory_and_more_time() -> None:
    without = estimate(replace(CODE, checkpointing=False), flavor("h200"))
    having = estimate(replace(CODE, checkpointing=True), flavor("h200"))
    assert having.memory.needed_bytes < without.memory.needed_bytes / 2
    assert having.time.high_s > without.time.high_s


def test_memory_grows_with_batch_and_length_and_falls_with_fewer_trained_blocks() -> None:
    def needed(**changed: Any) -> int:
        job = replace(CODE, checkpointing=False, **changed)
        return estimate(job, flavor("h200")).memory.needed_bytes

    assert needed() < needed(batch_size=8)
    assert needed() < needed(longest=4096)
    assert needed() > needed(last_layers=8)
    assert needed() < needed(rank=256)


def test_a_small_optimizer_saves_what_its_states_save() -> None:
    plain = estimate(ROUTER, flavor("l4x1"))
    small = estimate(replace(ROUTER, optimizer="adamw_8bit"), flavor("l4x1"))
    assert size(plain, "optimizer") == 8 * GEMMA.parameters
    assert size(small, "optimizer") < size(plain, "optimizer") / 3


@pytest.mark.parametrize(
    ("job", "name", "verdict"),
    [
        (replace(CODE, mode="full", rank=None), "a100-large", "does not fit"),
        (CODE, "t4-small", "does not fit"),
        (replace(CODE, quantization="4bit"), "a10g-large", "fits"),
        (ROUTER, "t4-small", "fits"),
    ],
)
def test_the_verdict(job: TrainingShape, name: str, verdict: str) -> None:
    assert estimate(job, flavor(name)).memory.verdict == verdict


def test_just_below_all_memory_is_tight() -> None:
    needed = estimate(CODE, flavor("a100-large")).memory.needed_bytes
    card = JOBS.accelerators["A100"].model_copy(update={"vram_gb": needed / 1e9 / 0.95})
    jobs = JOBS.model_copy(update={"accelerators": {**JOBS.accelerators, "A100": card}})
    found = estimate(CODE, flavor("a100-large"), jobs)
    assert found.memory.verdict == "tight"
    assert found.fits
    assert found.memory.advice


def test_what_does_not_fit_is_told_what_would_make_it_fit() -> None:
    found = estimate(replace(CODE, batch_size=8), flavor("a10g-large"))
    assert found.memory.verdict == "does not fit"
    assert "batch_size: 1 with gradient_accumulation: 8" in found.memory.advice
    assert "quantization: 4bit" in found.memory.advice
    hopeless = estimate(replace(CODE, mode="full", rank=None), flavor("t4-small"))
    assert "mode: peft with rank: 16 (alone not enough)" in hopeless.memory.advice


# --- Machines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", [CODE, replace(CODE, quantization="4bit"), ROUTER])
def test_the_machine_chosen_is_the_cheapest_for_the_whole_job(job: TrainingShape) -> None:
    found = choose_flavor(job)
    assert found is not None
    assert found.memory.verdict == "fits"
    others = [estimate(job, one) for one in JOBS.flavors if one.count == 1]
    fitting = [one for one in others if one.memory.verdict == "fits"]
    assert found.cost.high_usd == min(one.cost.high_usd for one in fitting)


def test_what_fits_nowhere_has_no_machine() -> None:
    assert choose_flavor(replace(CODE, mode="full", rank=None, longest=131_072)) is None
    assert choose_flavor(CODE, offered=[flavor("t4-small"), flavor("cpu-xl")]) is None


@pytest.mark.parametrize(
    ("job", "name", "precision", "problem"),
    [
        (ROUTER, "t4-small", "fp32", ""),
        (CODE, "t4-small", "fp16", ""),
        (CODE, "cpu-xl", "fp32", ""),
        (CODE, "l4x1", "bf16", ""),
        (CODE, "l4x4", "bf16", "has 4 cards"),
        (replace(CODE, precision="bf16"), "t4-small", "bf16", "cannot compute in bf16"),
        (replace(ROUTER, precision="fp16"), "l4x1", "fp16", "NaN in fp16"),
        (replace(CODE, quantization="4bit"), "cpu-xl", "fp32", "weights in 4 bits need"),
        (replace(CODE, optimizer="paged_adamw_8bit"), "cpu-xl", "fp32", "optimizer paged_adamw"),
        (replace(CODE, packing=True), "t4-small", "fp16", "no card for FlashAttention 2"),
        (replace(CODE, packing=True), "cpu-xl", "fp32", "no card for FlashAttention 2"),
        (replace(CODE, packing=True), "a10g-small", "bf16", ""),
        (replace(CODE, packing=True, precision="fp32"), "l4x1", "fp32", "not compute in fp32"),
    ],
)
def test_the_precision_is_the_trainer_s_and_what_cannot_run_is_told(
    job: TrainingShape, name: str, precision: str, problem: str
) -> None:
    found = estimate(job, flavor(name))
    assert found.precision == precision
    assert problem in " ".join(found.problems)
    assert bool(found.problems) == bool(problem)


# --- Time and cost --------------------------------------------------------------------------------


def test_full_training_takes_six_operations_a_weight_and_token() -> None:
    job = replace(CODE, mode="full", rank=None, longest=1, checkpointing=False)
    assert operations_per_token(job) == pytest.approx(6 * LLAMA.multiplied_parameters, rel=1e-3)
    frozen = replace(CODE, longest=1, checkpointing=False)
    assert operations_per_token(frozen) == pytest.approx(4 * LLAMA.multiplied_parameters, rel=0.01)


def test_a_longer_training_takes_longer_and_costs_more() -> None:
    once, twice = (estimate(replace(CODE, epochs=n), flavor("a100-large")) for n in (1, 2))
    assert once.time.low_s < twice.time.low_s
    assert once.time.high_s < twice.time.high_s
    assert once.cost.high_usd < twice.cost.high_usd
    assert once.time.low_s < once.time.high_s


def test_a_small_model_waits_for_its_kernels_not_for_its_arithmetic() -> None:
    training = next(
        one for one in estimate(ROUTER, flavor("h200")).time.parts if one.name == "training"
    )
    assert training.low_s == pytest.approx(15 * 23 * 18 * JOBS.assumed.block_ms.low / 1000)


def test_probes_are_a_part_of_the_time() -> None:
    having = estimate(replace(ROUTER, probe_tokens=(100, 1000)), flavor("l4x1"))
    (part,) = [one for one in having.time.parts if one.name == "probes"]
    token_ms = JOBS.assumed.token_ms_per_block
    looks = 15 + 1  # after each epoch, and before the training
    assert part.low_s == pytest.approx(looks * 100 * 18 * token_ms.low / 1000)
    assert part.high_s == pytest.approx(looks * 1000 * 18 * token_ms.high / 1000)
    assert having.time.high_s > estimate(ROUTER, flavor("l4x1")).time.high_s


def test_a_training_that_is_evaluated_often_takes_longer() -> None:
    job = replace(CODE, validation_rows=1000, validation_tokens=600_000, probe_tokens=(64, 900))
    often = replace(job, save_steps=10)
    assert (job.evaluations, often.evaluations) == (1, 225)
    each, all_of_them = (estimate(one, flavor("a100-large")).time for one in (job, often))
    assert all_of_them.low_s > 5 * each.low_s
    assert all_of_them.timeout_s > 5 * each.timeout_s


def test_steps_are_counted_over_all_epochs() -> None:
    job = replace(CODE, train_rows=10, batch_size=4, gradient_accumulation=3, epochs=15)
    assert replace(job, save_steps=5).evaluations == 3
    assert replace(job, save_steps=100).evaluations == 0


@pytest.mark.parametrize(
    ("high_s", "upload_s", "minutes"),
    [(60, 1, 30), (900, 0, 30), (900, 1, 45), (3600, 60, 135), (1350, 0, 45)],
)
def test_the_timeout_is_generous_and_round(high_s: float, upload_s: float, minutes: int) -> None:
    assert propose_timeout(high_s, upload_s) == minutes * 60


def test_begun_minutes_are_paid() -> None:
    time = estimate(ROUTER, flavor("l4x1")).time
    cost = estimate_cost(replace(time, low_s=61, high_s=120, timeout_s=1800), 6.0)
    assert (cost.low_usd, cost.high_usd, cost.most_usd) == (0.2, 0.2, 3.0)


def test_an_estimate_is_plain_json_and_says_what_it_rests_on() -> None:
    found = estimate(replace(CODE, quantization="4bit"), flavor("l4x1"))
    value = json.loads(json.dumps(found.to_json()))
    assert value["memory"]["terms"][0]["formula"]
    assert value["flavor"]["name"] == "l4x1"
    said = " ".join(found.basis)
    for part in ("not measured", "assumed", "docs/hub/jobs-pricing.md", "2026-11-21", "4 bits"):
        assert part in said


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": None}, "has a rank"),
        ({"batch_size": 0}, "batch_size"),
        ({"train_rows": 0}, "train_rows"),
        ({"mode": "full", "quantization": "4bit"}, "4 bits cannot hold"),
        ({"targets": ("experts",)}, "width of experts is not known"),
    ],
)
def test_a_training_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CODE, **changed)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("1.5h", 5400), ("2d", 172_800), ("45s", 45), ("1800", 1800), (" 2h ", 7200)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-5m", "1h30m", "1e3", "0m", "0.3s", "31d", "٣h", "5 parsecs", "9" * 400]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_duration(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(20, "20s"), (60, "1m"), (5400, "1h 30m"), (7200, "2h"), (61, "2m")]
)
def test_durations_are_told(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


# --- The catalog ----------------------------------------------------------------------------------


def test_flavors_are_those_that_the_client_knows() -> None:
    from huggingface_hub import JobHardware

    assert {one.name for one in JOBS.flavors} == {one.value for one in JobHardware}


def test_prices_are_those_that_the_sandbox_asks() -> None:
    from orchestrator.sandbox.jobs.hardware import FLAVORS

    offered = FLAVORS.values() if isinstance(FLAVORS, dict) else FLAVORS
    known = {one.name: one.usd_per_hour for one in JOBS.flavors}
    assert {one.name: one.usd_per_hour for one in offered}.items() <= known.items()


def test_widths_that_do_not_make_the_stated_parameters_are_refused() -> None:
    with pytest.raises(ValidationError, match="its widths make"):
        DecoderShape.model_validate({**SMOL.model_dump(), "parameters": 135_000_000})


def test_every_entry_has_a_source_and_a_date() -> None:
    said = [(one.source, one.checked) for one in JOBS.accelerators.values()]
    said += [(one.source, one.checked) for one in JOBS.shapes.values()]
    assert all(len(source) > 20 and checked >= date(2026, 1, 1) for source, checked in said)


def test_on_processors_the_terms_are_those_of_processors() -> None:
    names = [
        one.name for one in memory_terms(replace(CODE, checkpointing=False), "fp32", on_card=False)
    ]
    assert "Python and libraries" in names
    assert "CUDA" not in names
