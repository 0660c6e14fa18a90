"""The part of a model card that says what the model was trained on, how, where and for how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from orchestrator.ledger import ADOPTED
from orchestrator.report.card_facts import CardFacts
from orchestrator.report.card_plots import CardPlot
from orchestrator.report.card_text import Markdown, code, count, escaped, number, own, table
from orchestrator.report.costs import run_cost

#: The metrics that say how training went; trainers log many more.
_SHOWN_METRICS = (
    "loss",
    "eval_loss",
    "mean_token_accuracy",
    "eval_mean_token_accuracy",
    "learning_rate",
    "grad_norm",
)
_SERVICES = {"vertex": "Vertex AI", "hf-jobs": "Hugging Face Jobs"}

Pair = tuple[Markdown, Markdown]


def what_lines(card: CardFacts) -> list[str]:
    """The first sentences: what this is, of which base model, under which licence."""
    plan = card.view.facts.run.plan
    hyper = plan.hyperparameters
    if hyper.rank is None:
        kind = "A full fine-tuning"
    elif not card.is_adapter:
        kind = f"Merged weights, tuned as a LoRA adapter of rank {hyper.rank},"
    else:
        kind = f"A LoRA adapter of rank {hyper.rank}"
    base = f"[{plan.model.hub_id}](https://huggingface.co/{plan.model.hub_id})"
    where = f"tuned on {_SERVICES[plan.spec.service.name]} as {code(plan.model.id)}"
    if card.view.facts.is_adopted:
        where = (
            "trained before this run, which adopted it: what is said of its training is what the "
            "spec says"
        )
    return [
        (
            f"{kind} of {base}, {where}. The licence is the base model's "
            f"({escaped(plan.model.licence)}), and its terms hold here too."
        ),
        "",
    ]


def stand_in_lines(card: CardFacts) -> list[str]:
    """That it is a rehearsal, where it is one."""
    stand_in = card.view.stand_in
    if not stand_in:
        return []
    name, real, note = (card.mask(stand_in.get(key) or "") for key in ("name", "for", "note"))
    model = card.view.facts.run.plan.model
    if stand_in.get("for") in (model.id, model.hub_id):  # an id with an @ looks like a mailbox
        real = str(stand_in["for"])
    return [
        (
            f"> **This is a rehearsal, not a usable model.** The stand-in {code(name)} took the "
            f"place of {code(real)}: {escaped(note.rstrip('.'))}. The hyperparameters below are "
            "the plan's; the stand-in may have used others, which the rehearsal lists."
        ),
        "",
    ]


def training_lines(card: CardFacts, plots: Sequence[CardPlot], drawn: Collection[str]) -> list[str]:
    """The sections on data, on hyperparameters, time and cost, and on the curves."""
    return [
        "## Training",
        "",
        *_data(card),
        *table(("what", "value"), [*_hyperparameters(card), *_recipe(card), *_spent(card)]),
        *_curves(card, plots, drawn),
    ]


def _data(card: CardFacts) -> list[str]:
    plan = card.view.facts.run.plan
    data = plan.data
    splits = [
        (code(s.name), count(s.rows), count(s.size_bytes), code(s.sha256)) for s in plan.splits
    ]
    lines = [
        (
            f"{data.rows:,} rows were read (sha256 {code(data.sha256)}) and split with seed "
            f"{plan.spec.seed}. The rows are not part of this repo; these digests tell whether "
            "rows are the same:"
        ),
        "",
        *table(("split", "rows", "bytes", "sha256"), splits),
    ]
    left = data.left_out
    reasons = (
        (left.too_long, "too long"),
        (left.subset, "outside the subset"),
        (left.limit, "beyond the limit"),
        (left.numbers_wanted, "more than the numbers wanted"),
    )
    told = ", ".join(f"{rows:,} {why}" for rows, why in reasons if rows)
    if told:
        lines += [f"In no split: {told}.", ""]
    return lines


def _hyperparameters(card: CardFacts) -> list[Pair]:
    plan = card.view.facts.run.plan
    hyper = plan.hyperparameters
    rate = f"{hyper.learning_rate:g}"
    if hyper.learning_rate_multiplier is not None and hyper.baseline_learning_rate is not None:
        rate += (
            f" ({hyper.learning_rate_multiplier:g} × the baseline {hyper.baseline_learning_rate:g})"
        )
    return [
        (own("epochs"), own(_epochs(card))),
        (own("learning rate"), own(rate)),
        (own("rank"), own(f"{hyper.rank}" if hyper.rank else "none")),
    ]


def _epochs(card: CardFacts) -> str:
    """The planned ones, and how many it were where the training was to end by itself."""
    plan = card.view.facts.run.plan
    reached = [one.epoch for one in card.view.metrics if one.epoch is not None]
    may_end = plan.recipe is not None and plan.recipe.plateau_patience is not None
    if may_end and reached and max(reached) < plan.hyperparameters.epochs - 0.05:
        return (
            f"{plan.hyperparameters.epochs} at most; it ended at {max(reached):.1f}, as the "
            "validation loss fell no more"
        )
    return f"{plan.hyperparameters.epochs}"


def _recipe(card: CardFacts) -> list[Pair]:
    """What the trainer of hf-jobs was told beside the rest."""
    plan, mask = card.view.facts.run.plan, card.mask
    recipe, machine = plan.recipe, plan.machine
    if recipe is None or machine is None:
        return []
    rows = []
    if recipe.alpha is not None:
        rows.append((own("alpha, dropout"), own(f"{recipe.alpha}, {recipe.dropout:g}")))
    if recipe.targets is not None:
        rows.append((own("adapted layers"), escaped(mask(", ".join(recipe.targets)))))
    if recipe.last_layers is not None:
        rows.append((own("adapted blocks"), own(f"the last {recipe.last_layers}")))
    rows += [
        (own("batch"), own(f"{recipe.batch_size} rows × {recipe.gradient_accumulation}")),
        (
            own("optimizer"),
            escaped(mask(f"{recipe.optimizer}, weight decay {recipe.weight_decay:g}")),
        ),
        (own("schedule"), escaped(mask(f"{recipe.scheduler}, warm-up {recipe.warmup_ratio:g}"))),
        (own("gradients clipped at"), own(f"{recipe.max_grad_norm:g}")),
        (own("longest row"), own(f"{recipe.max_length} tokens")),
        (own("rows in one sequence"), own("several (packing)" if recipe.packing else "one")),
        (own("precision"), own(recipe.precision)),
        (own("seed of the training"), own(f"{plan.spec.seed}")),
        (own("machine"), code(mask(machine.flavor))),
    ]
    if recipe.quantization != "none":
        rows.append((own("base model while training"), own(recipe.quantization)))
    libraries = ", ".join(f"{name} {version}" for name, version in card.view.libraries.items())
    if libraries:
        rows.append((own("libraries"), escaped(mask(libraries))))
    return rows


def _spent(card: CardFacts) -> list[Pair]:
    """Tokens, jobs, time and dollars."""
    view = card.view
    plan, cost = view.facts.run.plan, run_cost(view.facts)
    kinds = Counter(
        str(attempt.kind)
        for attempt in view.facts.attempts
        if attempt.handle and attempt.handle.service != ADOPTED
    )
    jobs = ", ".join(f"{number_of} × {kind}" for kind, number_of in kinds.items())
    basis = "by the plan's estimate" if cost.is_estimate else "by what the service reported"
    rows = [
        (own("estimated training tokens"), count(plan.estimate.tokens)),
        (own("jobs"), own(jobs or "none of this run")),
    ]
    if jobs:
        told = f"{cost}, {basis}, at list prices: not a bill"
        rows.append((own("cost of all jobs"), own(told)))
    times = (("the training", view.training_seconds), ("all jobs", view.seconds_of_all_jobs))
    for what, seconds in times:
        if seconds is not None:
            rows.append((own(f"time of {what} at the service"), own(f"{seconds:,.0f} s")))
    return rows


def _curves(card: CardFacts, plots: Sequence[CardPlot], drawn: Collection[str]) -> list[str]:
    series = [one for one in card.view.series if one.name in _SHOWN_METRICS]
    if not series:
        return []
    rows = [
        (code(one.name), count(one.points), *map(number, (one.first, one.last, one.lowest)))
        for one in series
    ]
    header = ("metric", "points", "first", "last", "lowest")
    return ["As the trainer logged it:", "", *table(header, rows), *pictures(plots, drawn)]


def pictures(plots: Sequence[CardPlot], drawn: Collection[str]) -> list[str]:
    """The pictures among these plots that lie beside the card."""
    lines = []
    for plot in plots:
        if plot.file_name in drawn:
            # The title below it: the picture itself does not say which metric it shows.
            lines += [f"![{escaped(plot.alt)}]({plot.file_name}) {escaped(plot.title)}", ""]
    return lines
