"""What a spec's `evaluation:` and `gates:` come to: rows, ways to answer, machine and cost."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

from orchestrator.catalog import Model
from orchestrator.dataset.preparing.prepared import Lengths, PreparedSplit, Summary
from orchestrator.errors import InputError
from orchestrator.evaluation.scorers import scorer_named
from orchestrator.hardware.catalog import JobsCatalog
from orchestrator.hardware.durations import parse_duration
from orchestrator.hardware.generating import (
    Answering,
    AnsweringEstimate,
    cheapest,
    decoder_of,
    estimate_answering,
)
from orchestrator.jobs_planner import RowPart
from orchestrator.plan import EvaluationPlan, Machine
from orchestrator.spec import AUDIT_MEAN, EvaluationBlock, LoadedSpec, SpecError

#: An answer may be so much longer than the longest that is expected.
_ROOM, _SPARE_TOKENS = 1.5, 16
_BATCH_SIZE = 8


def plan_evaluation(
    loaded: LoadedSpec,
    model: Model,
    summary: Summary,
    machine: Machine | None,
    jobs: JobsCatalog,
) -> EvaluationPlan | None:
    """The evaluation of a plan; `machine` is that of its training. `SpecError` with all problems.

    A spec that publishes must say what has to be reached, if only that nothing has to.
    """
    problems = list(_problems(loaded))
    block = loaded.spec.evaluation
    if problems or block is None:
        if problems:
            raise SpecError(problems)
        return None
    split = _split(loaded, block, summary)
    rows = min(split.rows, block.rows or split.rows)
    conditions = _conditions(loaded, block, summary)
    plan = EvaluationPlan(
        scorer=block.scorer,
        service=block.service,
        split="test" if split.name == "test" else "validation",
        rows=rows,
        max_new_tokens=block.max_new_tokens or _longest_answer(split, summary, model),
        batch_size=block.batch_size or _BATCH_SIZE,
        # A row of training more than once is no other example.
        shots=min(block.few_shot, summary.split("train").rows) if "few-shot" in conditions else 0,
        conditions=conditions,
    )
    if block.service == "endpoint":
        names = ("url", "model", "base_model", "token_env", "texts", "concurrency")
        return plan.model_copy(update={name: getattr(block, name) for name in names})
    if block.service == "file":
        return plan
    return _on_machine(loaded, block, plan, model, split, machine, jobs)


def _problems(loaded: LoadedSpec) -> Iterator[InputError]:
    """Gates that are missing, lead nowhere, or name what the scorer does not measure."""
    spec = loaded.spec
    if spec.publish is not None and spec.gates is None:
        yield InputError(
            "the spec publishes and has no `gates:`",
            where=loaded.place("publish"),
            hint="Say under `gates:` what the evaluation must reach, or write `gates: none`, which "
            "the model card will show.",
        )
    if spec.gates and spec.evaluation is None:
        yield InputError(
            "the spec has gates and no `evaluation:` that could pass them",
            where=loaded.place("gates"),
            hint="Name at least a scorer: evaluation: {scorer: route-plan}.",
        )
    if spec.evaluation is None:
        return
    if spec.evaluation.namespace is not None and spec.service.name == "hf-jobs":
        yield InputError(
            "the answers are generated where the model is trained, in `service.namespace`",
            where=loaded.place("evaluation", "namespace"),
            hint="Leave it out here.",
        )
    if spec.evaluation.scorer == "code":
        yield InputError(
            "the scorer code runs tests, and prepared rows hold none",
            where=loaded.place("evaluation", "scorer"),
            hint="Write `gates: none`, and score a file of answers beside one with the tests: "
            "orchestrator score --scorer code.",
        )
        return
    metrics = [kind.name for kind in scorer_named(spec.evaluation.scorer)((), None).metrics]
    for number, gate in enumerate(spec.gates or ()):
        # A metric of one tool: `tool_recall[/math]`. Which tools there are, rows say.
        whole = gate.metric.partition("[")[0] if gate.metric.endswith("]") else gate.metric
        if whole not in (*metrics, AUDIT_MEAN):
            close = difflib.get_close_matches(gate.metric, metrics, n=1)
            meant = f"Did you mean `{close[0]}`? " if close else ""
            yield InputError(
                f"the scorer {spec.evaluation.scorer} has no metric `{gate.metric}`",
                where=loaded.place("gates", number, "metric"),
                hint=f"{meant}It has: {', '.join(metrics)}.",
            )
        if gate.better_than == "few-shot" and not spec.evaluation.few_shot:
            yield InputError(
                "the gate compares with few-shot, and `evaluation.few_shot` is 0",
                where=loaded.place("gates", number, "better_than"),
                hint="Give evaluation.few_shot a number of examples.",
            )
        elif spec.evaluation.service == "endpoint" and gate.better_than in _not_served(
            spec.evaluation
        ):
            yield InputError(
                f"the gate compares with {gate.better_than}, which the endpoint does not answer as",
                where=loaded.place("gates", number, "better_than"),
                hint="Name the untuned model as evaluation.base_model (for base and few-shot); "
                "what is published answers with service: hf-jobs, or from a file (service: file).",
            )


def _not_served(block: EvaluationBlock) -> tuple[str, ...]:
    """The ways to answer that need a model which the endpoint of a spec is not asked for."""
    return ("published",) if block.base_model is not None else ("base", "few-shot", "published")


def _split(loaded: LoadedSpec, block: EvaluationBlock, summary: Summary) -> PreparedSplit:
    """The rows that are answered."""
    names = (block.split,) if block.split else ("test", "validation")
    for name in names:
        split = next(one for one in summary.splits if one.name == name)
        if split.rows:
            return split
    raise SpecError(
        [
            InputError(
                f"no row is in {' or '.join(names)}: there is nothing to evaluate on",
                where=loaded.place("evaluation"),
                hint="Give `data.split` a share for it, or give more rows.",
            )
        ]
    )


def _conditions(loaded: LoadedSpec, block: EvaluationBlock, summary: Summary) -> tuple[str, ...]:
    """The ways in which rows are answered, the tuned model first."""
    names = ["tuned"]
    if block.service == "hf-jobs" or block.base_model is not None:
        names.append("base")
        if block.few_shot and summary.split("train").rows:
            names.append("few-shot")
    if block.service == "hf-jobs" and loaded.spec.publish is not None:
        names.append("published")
    return tuple(names)


def _longest_answer(split: PreparedSplit, summary: Summary, model: Model) -> int:
    """Room for half as much again as the longest answer that was seen."""
    seen = (split, summary.split("train"))
    return math.ceil(_ROOM * max(_tokens(one, model, "answer") for one in seen)) + _SPARE_TOKENS


def _tokens(split: PreparedSplit, model: Model, part: RowPart) -> int:
    """The longest prompt or answer of a split in tokens, estimated where nothing counted them."""
    if not split.rows:
        return 0
    lengths: Lengths = getattr(split.tokens or split.characters, part)
    return lengths.most if split.tokens else math.ceil(lengths.most * model.tokens_per_character)


def _on_machine(
    loaded: LoadedSpec,
    block: EvaluationBlock,
    plan: EvaluationPlan,
    model: Model,
    split: PreparedSplit,
    machine: Machine | None,
    jobs: JobsCatalog,
) -> EvaluationPlan:
    decoder = decoder_of(jobs.shapes.get(model.hub_id), model.shape)
    if decoder is None:
        raise InputError(
            f"the catalog does not hold the shape of {model.id}, so nobody can tell which machine "
            "could answer with it",
            where=loaded.place("evaluation"),
            hint="Serve it yourself (evaluation.service: endpoint), or give the answers as a file "
            "(service: file).",
        )
    prompt = _tokens(split, model, "prompt")
    shots = plan.shots * _tokens(split, model, "whole")
    answer = _tokens(split, model, "answer")
    job = Answering(
        decoder,
        plan.rows,
        len(plan.conditions),
        prompt + shots,
        (min(answer, plan.max_new_tokens), plan.max_new_tokens),
        plan.batch_size,
    )
    found = _machine(loaded, block, job, machine, jobs)
    timeout_s = parse_duration(block.timeout) if block.timeout else found.timeout_s
    return plan.model_copy(
        update={
            "flavor": found.flavor.name,
            "image": (loaded.spec.service.image or jobs.image),
            "usd_per_hour": found.flavor.usd_per_hour,
            "timeout_s": timeout_s,
            "low_s": found.low_s,
            "high_s": found.high_s,
            "usd": found.usd,
            "basis": f"{plan.rows} rows in {len(plan.conditions)} ways, answers of at most "
            f"{plan.max_new_tokens} tokens, {found.needed_bytes / 1e9:.1f} GB of "
            f"{found.available_bytes / 1e9:.0f} GB; times were not measured there",
        }
    )


def _machine(
    loaded: LoadedSpec,
    block: EvaluationBlock,
    job: Answering,
    machine: Machine | None,
    jobs: JobsCatalog,
) -> AnsweringEstimate:
    """The machine that is asked for, or that of the training, or the cheapest that holds it."""
    asked = block.flavor
    if asked is None and machine is not None:
        trained_on = jobs.flavor(machine.flavor)
        if trained_on is not None:
            same = estimate_answering(job, trained_on, jobs)
            if same.fits:
                return same
    flavor = jobs.flavor(asked) if asked else None
    if asked is not None and flavor is None:
        close = jobs.nearest_flavor(asked)
        raise InputError(
            f"hf-jobs has no flavor `{asked}`",
            where=loaded.place("evaluation", "flavor"),
            hint=f"Did you mean `{close}`?" if close else "See: hf jobs hardware",
        )
    found = estimate_answering(job, flavor, jobs) if flavor else cheapest(job, jobs)
    if found is not None and found.fits:
        return found
    why = "; ".join(found.problems) if found and found.problems else "the model does not fit"
    where = f"{asked}: {why}" if asked else "no machine of hf-jobs with one card holds the model"
    raise InputError(
        f"the answers cannot be had: {where}",
        where=loaded.place("evaluation"),
        hint="Name a larger flavor, serve the model yourself (service: endpoint), or give the "
        "answers as a file (service: file).",
    )
