"""What a service is asked to execute for a run: built from its plan and its staged files alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.errors import LedgerError
from orchestrator.evaluation_facts import attempts_of, candidate, gates, planned
from orchestrator.exports import SCRIPTS, script_arguments
from orchestrator.ledger import Facts, RunFacts
from orchestrator.plan import Machine, Recipe
from orchestrator.services.base import (
    AttemptKind,
    AttemptRequest,
    ScriptRequest,
    TuneRequest,
    Volume,
)
from orchestrator.stores.hub_objects import HubUri

#: Where a job of hf-jobs finds its scripts and rows, the tuned model, and leaves its files.
MOUNT = "/orchestrator"
TUNED = "/tuned"
PUBLISHED = "/published"
OUTPUT = "/tmp/output"  # noqa: S108 (in the job's own container)
#: What scripts and rows are staged as; the rest of the name is the script's or the split's.
CODE = "code/"
EVALUATION_ROWS, SHOTS = "evaluation", "shots"
#: Ways to answer that may fail where the tuned model's does not: longer prompts, another's adapter.
_SPARE = ("few-shot", "published")
_FINISHING_TIMEOUT_S = 3600


def attempt_request(facts: Facts, kind: AttemptKind, attempt_id: str) -> AttemptRequest:
    """The request of one attempt, for the service of the run."""
    if kind is AttemptKind.GENERATE:
        return _answers_request(facts, attempt_id)
    if facts.run.target.service == "vertex":
        return _tune_request(facts, attempt_id)
    return _script_request(facts, kind, attempt_id)


def _tune_request(facts: Facts, attempt_id: str) -> TuneRequest:
    """The tuning job of a plan on Vertex, with the URIs of its staged splits."""
    plan, target = facts.run.plan, facts.run.target
    staged = facts.artifacts_of("staged")
    validation = staged.get("validation")
    return TuneRequest(
        run_id=facts.run.id,
        display_name=f"{plan.name}-{facts.run.id}",
        base_model=plan.model.id,
        train_uri=staged["train"].uri,
        validation_uri=validation.uri if validation else None,
        output_uri=f"{target.bucket}/outputs/{attempt_id}",
        epochs=plan.hyperparameters.epochs,
        learning_rate=plan.hyperparameters.learning_rate,
        mode=plan.hyperparameters.mode,
        adapter_rank=plan.hyperparameters.rank,
    )


def _answers_request(facts: Facts, attempt_id: str) -> ScriptRequest:
    """A job that answers the held-out rows in every way of the plan, from the candidate."""
    run, how, offered = facts.run, planned(facts), candidate(facts)
    if how is None or how.flavor is None or how.image is None or offered is None:
        raise LedgerError(f"run {run.id} was not planned to be evaluated on hf-jobs")
    staged = facts.artifacts_of("staged")
    keeper = HubUri.of(staged[f"{CODE}job.py"].uri)
    volumes = [
        Volume("dataset", keeper.repo, keeper.revision, MOUNT),
        Volume("model", str(offered.data["repo"]), str(offered.data["revision"]), TUNED),
    ]
    published = offered.data.get("published")
    if published and "published" in how.conditions:
        volumes.append(
            Volume("model", str(run.target.repo), str(offered.data["target_head"]), PUBLISHED)
        )
    arguments = _pairs(
        {
            "--base-model": run.plan.model.hub_id,
            "--base-revision": run.target.base_commit,
            "--rows": f"{MOUNT}/{HubUri.of(staged[EVALUATION_ROWS].uri).path}",
            "--max-new-tokens": how.max_new_tokens,
            "--batch-size": how.batch_size,
            "--seed": run.plan.spec.seed,
            "--likelihood": how.scorer == "text",
        }
    )
    for name in how.conditions:
        condition = _condition(name, facts, str(published) if published else None)
        condition += ["may-fail=yes"] if condition and may_fail(name, facts) else []
        arguments += ["--condition", *condition] if condition else []
    output = output_uri(run, attempt_id)
    return ScriptRequest(
        run_id=run.id,
        display_name=f"{run.plan.name}-{run.id}",
        kind=AttemptKind.GENERATE,
        command=(
            *_keeper(facts, AttemptKind.GENERATE, keeper, attempt_id),
            *("--", "generate.py", *arguments, "--output", OUTPUT),
        ),
        image=how.image,
        flavor=how.flavor,
        timeout_s=how.timeout_s or _FINISHING_TIMEOUT_S,
        output_uri=output,
        volumes=tuple(volumes),
        environment={"ORCHESTRATOR_OUTPUT": output, "HF_HUB_DISABLE_XET": "1"},
        secret_names=("HF_TOKEN", *run.plan.spec.service.secrets),
    )


def may_fail(name: str, facts: Facts) -> bool:
    """Whether a way to answer is not worth losing the others, which are paid for.

    It may be one of which the tuned model's answers prove nothing, if no gate asks for it.
    """
    return name in _SPARE and all(gate.better_than != name for gate in gates(facts))


def _condition(name: str, facts: Facts, published: str | None) -> list[str]:
    """One way to answer, as `generate.py --condition` takes it; empty where there is none."""
    match name:
        case "tuned":
            checked = facts.last("adapter_checked")
            is_adapter = checked is not None and checked.data.get("kind") == "adapter"
            return [name, f"{'adapter' if is_adapter else 'model'}={TUNED}"]
        case "few-shot":
            how, staged = planned(facts), facts.artifacts_of("staged")
            if how is None or not how.shots or SHOTS not in staged:
                return []
            path = f"{MOUNT}/{HubUri.of(staged[SHOTS].uri).path}"
            return [name, f"shots={path}", f"count={how.shots}"]
        case "published":
            # Trained on another commit of the same base, it answers all the same.
            other = ["other-base=yes"] if published == "adapter" else []
            return [name, f"{published}={PUBLISHED}", *other] if published else []
    return [name]


def _keeper(facts: Facts, kind: AttemptKind, keeper: HubUri, attempt_id: str) -> list[str]:
    """The command that keeps what a script leaves, up to the script.

    A training, and a job of answers, goes on from what earlier ones of the run have kept.
    """
    run = facts.run
    command = ["uv", "run", f"{MOUNT}/{keeper.path}", "--candidate", str(run.target.candidates)]
    command += ["--branch", run.id, "--prefix", attempt_id]
    if kind in (AttemptKind.TUNE, AttemptKind.GENERATE):
        for earlier in attempts_of(facts, kind):
            if earlier.handle and earlier.id != attempt_id:
                command += ["--resume-from-prefix", earlier.id]
    return command


def _script_request(facts: Facts, kind: AttemptKind, attempt_id: str) -> ScriptRequest:
    """A job that runs one of the scripts behind `job.py`, which keeps what it leaves."""
    run = facts.run
    plan, candidates, machine = run.plan, run.target.candidates, run.plan.machine
    if candidates is None or machine is None:
        raise LedgerError(f"run {run.id} was not planned for hf-jobs")
    keeper = HubUri.of(facts.artifacts_of("staged")[f"{CODE}job.py"].uri)
    command = _keeper(facts, kind, keeper, attempt_id)
    volumes = [Volume("dataset", keeper.repo, keeper.revision, MOUNT)]
    if kind is AttemptKind.TUNE:
        arguments = ["sft.py", *_training_arguments(facts)]
    else:
        source = _tuned(facts, kind)
        volumes.append(Volume("model", source.repo, source.revision, TUNED))
        arguments = _finishing_arguments(run, kind, f"{TUNED}/{source.path}".rstrip("/"))
    output = output_uri(run, attempt_id)
    return ScriptRequest(
        run_id=run.id,
        display_name=f"{plan.name}-{run.id}",
        kind=kind,
        command=(*command, "--", *arguments, "--output", OUTPUT),
        image=machine.image,
        flavor=machine.flavor,
        timeout_s=_timeout_s(machine, kind),
        output_uri=output,
        volumes=tuple(volumes),
        # Xet may split one upload into several commits, and obeys no timeout.
        environment={"ORCHESTRATOR_OUTPUT": output, "HF_HUB_DISABLE_XET": "1"},
        secret_names=("HF_TOKEN", *plan.spec.service.secrets),
    )


def _timeout_s(machine: Machine, kind: AttemptKind) -> int:
    """How long the service lets an attempt run; plans of earlier versions say it of tuning only."""
    if kind is AttemptKind.TUNE:
        return machine.timeout_s
    planned = machine.merge_timeout_s if kind is AttemptKind.MERGE else machine.export_timeout_s
    return planned or _FINISHING_TIMEOUT_S


def output_uri(run: RunFacts, attempt_id: str) -> str:
    """Where an attempt of hf-jobs leaves its files: a branch for the run, a folder for it."""
    return f"hf://models/{run.target.candidates}@{run.id}/{attempt_id}"


def _tuned(facts: Facts, kind: AttemptKind) -> HubUri:
    """The folder that a merge or an export starts from: an adapter, or a whole model."""
    after_merge = kind is AttemptKind.EXPORT and facts.newest(AttemptKind.MERGE) is not None
    event = facts.last("produced" if after_merge else "collected")
    if event is None:
        raise LedgerError(f"run {facts.run.id} has nothing yet to {kind}")
    return HubUri.of(str(event.data["source"]))


def _finishing_arguments(run: RunFacts, kind: AttemptKind, folder: str) -> list[str]:
    """What merge and export are told."""
    plan = run.plan
    if kind is AttemptKind.MERGE:
        base = {"--base-model": plan.model.hub_id, "--base-revision": run.target.base_commit}
        return ["merge.py", *_pairs({**base, "--adapter": folder})]
    export = plan.spec.export
    if export is None:
        raise LedgerError("the plan asks for no export")
    return [
        SCRIPTS[export.format],
        *("--model", folder, "--name", plan.name),
        *script_arguments(export),
    ]


def _training_arguments(facts: Facts) -> list[str]:
    """The command line of `sft.py`, every choice of the plan spelled out."""
    plan, staged = facts.run.plan, facts.artifacts_of("staged")
    recipe = plan.recipe
    if recipe is None:
        raise LedgerError(f"run {facts.run.id} was not planned for hf-jobs")
    files = {
        f"--{name}": f"{MOUNT}/{HubUri.of(staged[name].uri).path}"
        for name in ("train", "validation", "probe")
        if name in staged
    }
    hyper = plan.hyperparameters
    values: dict[str, object] = {
        "--base-model": plan.model.hub_id,
        "--base-revision": facts.run.target.base_commit,
        **files,
        "--mode": "full" if hyper.mode == "full" else "lora",
        "--epochs": hyper.epochs,
        "--learning-rate": hyper.learning_rate,
        "--seed": plan.spec.seed,
        **_recipe_values(recipe),
    }
    if hyper.rank is not None:
        values |= {"--rank": hyper.rank, "--alpha": recipe.alpha, "--dropout": recipe.dropout}
    arguments = _pairs(values)
    if recipe.targets is not None and hyper.rank is not None:
        arguments += ["--targets", *recipe.targets]
    return arguments


def _recipe_values(recipe: Recipe) -> dict[str, object]:
    values: dict[str, object] = {
        "--quantization": recipe.quantization,
        "--last-layers": recipe.last_layers,
        "--weight-decay": recipe.weight_decay,
        "--warmup-ratio": recipe.warmup_ratio,
        "--scheduler": recipe.scheduler,
        "--optimizer": recipe.optimizer,
        "--batch-size": recipe.batch_size,
        "--gradient-accumulation": recipe.gradient_accumulation,
        "--max-grad-norm": recipe.max_grad_norm,
        "--max-length": recipe.max_length,
        "--precision": recipe.precision,
        "--packing": recipe.packing,
        "--group-by-length": recipe.group_by_length,
        "--save-steps": recipe.save_steps,
        "--track": recipe.tracking,
    }
    if recipe.plateau_patience is not None:
        values["--plateau-patience"] = recipe.plateau_patience
        values["--plateau-delta"] = recipe.plateau_min_delta
    if recipe.probes:
        values["--answer-syntax"] = recipe.answer_syntax
        values["--max-unparsed"] = recipe.max_unparsed
    return values


def _pairs(values: Mapping[str, object]) -> list[str]:
    """Names with their values; None and False are left out, True is a name alone."""
    return list(_flat(list(values.items())))


def _flat(values: Sequence[tuple[str, object]]) -> Iterator[str]:
    for name, value in values:
        if value is None or value is False:
            continue
        yield name
        if value is not True:
            yield str(value)
