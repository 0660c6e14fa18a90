"""The model card, from the ledger alone: the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from orchestrator.report.views import RunView

#: The metrics that say how training went; trainers log many more.
_SHOWN_METRICS = (
    "loss",
    "eval_loss",
    "mean_token_accuracy",
    "eval_mean_token_accuracy",
    "learning_rate",
    "grad_norm",
)


def run_tag(run_id: str) -> str:
    """The tag under which a run is published."""
    return f"run-{run_id}"


def model_card(view: RunView) -> str:
    """README.md of the published repo."""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_metadata(view), sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# {view.facts.run.plan.name}",
            "",
            *_stand_in(view),
            *_what(view),
            *_training(view),
            *_evaluation(),
            *_loading(view),
            *_provenance(view),
        ]
    )


def _metadata(view: RunView) -> dict[str, Any]:
    plan = view.facts.run.plan
    publish = plan.spec.publish
    is_adapter = (
        bool(view.adapter) and view.adapter is not None and view.adapter["kind"] == "adapter"
    )
    return {
        "base_model": plan.model.hub_id,
        "library_name": "peft" if is_adapter else "transformers",
        "license": plan.model.licence,
        "pipeline_tag": "text-generation",
        "tags": [*(["lora"] if is_adapter else []), *(publish.tags if publish else ())],
    }


def _stand_in(view: RunView) -> list[str]:
    if not view.stand_in:
        return []
    name, real = _text(view.stand_in.get("name")), _text(view.stand_in.get("for"))
    note = _text(view.stand_in.get("note")).rstrip(".")
    return [
        (
            f"> **This is a rehearsal, not a usable model.** The stand-in `{name}` took the place "
            f"of `{real}`: {note}. The hyperparameters below are the plan's; the stand-in may have "
            "used others, which the rehearsal lists."
        ),
        "",
    ]


def _recipe(view: RunView) -> list[tuple[str, str]]:
    """What the trainer of hf-jobs was told beside the rest."""
    plan = view.facts.run.plan
    recipe, machine = plan.recipe, plan.machine
    if recipe is None or machine is None:
        return []
    rows = [
        ("batch", f"{recipe.batch_size} rows × {recipe.gradient_accumulation}"),
        ("optimizer", f"{recipe.optimizer}, weight decay {recipe.weight_decay:g}"),
        ("schedule", f"{recipe.scheduler}, warm-up {recipe.warmup_ratio:g}"),
        ("longest row", f"{recipe.max_length} tokens"),
        ("precision", recipe.precision),
        ("machine", machine.flavor),
    ]
    if recipe.alpha is not None:
        rows.insert(0, ("alpha, dropout", f"{recipe.alpha}, {recipe.dropout:g}"))
    if recipe.targets is not None:
        rows.insert(1, ("adapted layers", ", ".join(recipe.targets)))
    if recipe.quantization != "none":
        rows.append(("base model while training", recipe.quantization))
    return rows


_SERVICES = {"vertex": "Vertex AI", "hf-jobs": "Hugging Face Jobs"}


def _what(view: RunView) -> list[str]:
    plan = view.facts.run.plan
    hyper = plan.hyperparameters
    if hyper.rank is None:
        kind = "A full fine-tuning"
    elif view.adapter and view.adapter["kind"] == "merged":
        kind = f"Merged weights, tuned as a LoRA adapter of rank {hyper.rank},"
    else:
        kind = f"A LoRA adapter of rank {hyper.rank}"
    return [
        (
            f"{kind} of [{plan.model.hub_id}](https://huggingface.co/{plan.model.hub_id}), "
            f"tuned on {_SERVICES[plan.spec.service.name]} as `{plan.model.id}`."
        ),
        "",
    ]


def _training(view: RunView) -> list[str]:
    plan = view.facts.run.plan
    hyper = plan.hyperparameters
    rate = f"{hyper.learning_rate:g}"
    if hyper.learning_rate_multiplier is not None:
        rate += (
            f" ({hyper.learning_rate_multiplier:g} × the baseline {hyper.baseline_learning_rate:g})"
        )
    rows = [
        ("epochs", f"{hyper.epochs}"),
        ("learning rate", rate),
        ("rank", f"{hyper.rank}" if hyper.rank else "none"),
        ("seed of the splits", f"{plan.spec.seed}"),
        ("estimated training tokens", f"{plan.estimate.tokens}"),
        ("estimated cost", f"${plan.estimate.cost_usd:.2f} (list price, not a bill)"),
    ]
    rows += _recipe(view)
    if view.training_seconds is not None:
        rows.append(("time at the service", f"{view.training_seconds:.0f} s"))
    lines = ["## Training", "", *_table(("what", "value"), rows), ""]
    lines += ["The rows, by split:", ""]
    splits = [(s.name, f"{s.rows}", f"{s.size_bytes}", f"`{s.sha256}`") for s in plan.splits]
    lines += [*_table(("split", "rows", "bytes", "sha256"), splits), ""]
    values = [
        (f"`{s.name}`", f"{s.points}", f"{s.first:.4g}", f"{s.last:.4g}", f"{s.lowest:.4g}")
        for s in view.series
        if s.name in _SHOWN_METRICS
    ]
    if values:
        header = ("metric", "points", "first", "last", "lowest")
        lines += ["As the trainer logged it:", "", *_table(header, values), ""]
    return lines


def _evaluation() -> list[str]:
    return [
        "## Evaluation and gates",
        "",
        (
            "No gates were set, and the model's answers were not evaluated before it was "
            "published. What was checked: the files are whole and safe to load, rank and base "
            "model are the planned ones, all weights are finite, and the adapter is not empty."
        ),
        "",
    ]


def _loading(view: RunView) -> list[str]:
    plan = view.facts.run.plan
    repo = view.facts.run.target.repo or ""
    tag = run_tag(view.facts.run.id)
    if view.adapter and view.adapter["kind"] == "adapter":
        code = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'base = AutoModelForCausalLM.from_pretrained("{plan.model.hub_id}")',
            f'model = PeftModel.from_pretrained(base, "{repo}", revision="{tag}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{plan.model.hub_id}")',
        ]
    else:
        code = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'model = AutoModelForCausalLM.from_pretrained("{repo}", revision="{tag}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{repo}", revision="{tag}")',
        ]
    words = ["A private repo and a gated base model need a token (`hf auth login`).", ""]
    if view.stand_in:
        words = ["The weights of a rehearsal fit its stand-in only; real ones load so:", ""]
    return ["## Loading", "", *words, "```python", *code, "```", ""]


def _provenance(view: RunView) -> list[str]:
    run = view.facts.run
    weights = [
        (f"`{item.name}`", f"{item.size_bytes}", f"`{item.sha256}`")
        for item in view.adapter_files.values()
        if item.name.endswith(".safetensors")
    ]
    return [
        "## Provenance",
        "",
        f"Run `{run.id}`, plan `{run.plan.digest}`.",
        "",
        *_table(("weights", "bytes", "sha256"), weights),
        "",
    ]


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _text(value: object) -> str:
    """Text from outside, without what Markdown or HTML would act on."""
    return "".join(char for char in str(value or "") if char.isalnum() or char in " .,:;/@-_()+%")
