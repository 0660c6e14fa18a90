"""The actions between a checked model and its verdict: offer it, fetch its answers, evaluate them.

`RunActions` performs them; `publisher` follows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from orchestrator.answer_files import read_answers, write_lines
from orchestrator.answering.answers import Examples, answer_rows
from orchestrator.answering.endpoint import Asking, Endpoint
from orchestrator.audit_facts import audited_figures, unscored_rows
from orchestrator.calls import Syntax
from orchestrator.connections import Connections
from orchestrator.digests import sha256_file
from orchestrator.errors import Corrupt, InputError, LedgerError, NotFound
from orchestrator.evaluation_facts import (
    ASKED,
    ASKED_HERE,
    GIVEN,
    GIVEN_HERE,
    answered_by,
    answers,
    candidate,
    gates,
    planned,
    planned_for_sure,
)
from orchestrator.evaluation_warnings import warnings
from orchestrator.evaluator import (
    CONSTANT,
    MAJORITY,
    AnswersFile,
    Question,
    answered_rows,
    evaluate,
    seed_of,
)
from orchestrator.ledger import Artifact, AttemptFacts, Facts, Lease, Metric
from orchestrator.plan import EvaluationPlan
from orchestrator.publishable import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG
from orchestrator.staging import copy_first_lines
from orchestrator.stores.base import StoredObject

#: What a job of answers leaves for each way to answer.
PREDICTIONS = re.compile(r"^(?:(?P<condition>[a-z-]+)/)?predictions\.jsonl$")
SCORES = "scores.jsonl"
#: Ways to answer that nobody can give: they are made from the rows, or their file is another's.
_RESERVED = (CONSTANT, MAJORITY, SCORES.partition(".")[0])
#: Files beside which no model is published: what the Hub puts into a repo, and words about it.
_OF_NO_MODEL = re.compile(r"\.git[a-z]+|(LICENSE|NOTICE)[^/]*|.+\.(md|txt|png|jpg)", re.IGNORECASE)
_MODEL_WEIGHTS = re.compile(r"model(-[^/]+)?\.safetensors")
_CAME_FROM = {
    "hf-jobs": "",
    "endpoint": "; an endpoint answered",
    "file": "; its answers were given as a file",
}
#: Training accuracy as trainers log it, the best known name first.
_ACCURACIES = ("mean_token_accuracy", "train_mean_token_accuracy")


@dataclass(frozen=True)
class GivenAnswers:
    """A file of answers that a person gives for one way to answer."""

    condition: str
    file: Path


class EvaluationActions:
    """Performs them for runs whose lease is held; `folder` below is that of the run's files."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def offer(self, facts: Facts, lease: Lease, folder: Path) -> str:
        """Put the checked files where only we see them, at the root of a branch, to be loaded.

        What the target repo holds at this moment is recorded: nothing newer is ever replaced on
        the strength of this candidate's evaluation. Gives a line for people.
        """
        run, tune = facts.run, facts.tune
        if run.target.candidates is None or tune is None:
            raise LedgerError(f"run {run.id} has no repo for its candidate")
        branch = f"candidate-{tune.id}"
        files = {name: folder / "adapter" / name for name in facts.artifacts_of("adapter")}
        revision = self._connections.hub_commits.commit_files(
            run.target.candidates,
            "model",
            files,
            message=f"Candidate of run {run.id}",
            branch=branch,
        )
        repo = run.target.repo
        head = self._connections.hub.head(repo) if repo else None
        names = self._connections.hub.files(repo, head).keys() if repo and head else frozenset()
        data = {
            "repo": run.target.candidates,
            "revision": revision,
            "branch": branch,
            "target_head": head,
            "published": self._published(facts, head, names, folder),
            # What is published and cannot answer here is no reason to pass a comparison with it.
            "nothing_published": all(map(_OF_NO_MODEL.fullmatch, names)),
        }
        lease.add_event("candidate", data, tune.id)
        return f"candidate: {run.target.candidates} at {revision[:12]}"

    def _published(
        self, facts: Facts, head: str | None, names: Set[str], folder: Path
    ) -> str | None:
        """What the target repo holds that can answer beside the candidate: adapter or model."""
        repo = facts.run.target.repo
        if repo is None or head is None:
            return None
        if not {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= names:
            # What is loaded as a model must have weights: an adapter may have a config beside it.
            whole = MODEL_CONFIG in names and any(map(_MODEL_WEIGHTS.fullmatch, names))
            return "model" if whole else None
        copy = folder / "published_adapter_config.json"
        self._connections.hub.download(repo, head, ADAPTER_CONFIG, copy)
        try:
            base = json.loads(copy.read_text(encoding="utf-8")).get("base_model_name_or_path")
        except (ValueError, AttributeError, RecursionError):
            return None
        # Of another base model, it answers nothing here.
        return "adapter" if base == facts.run.plan.model.hub_id else None

    def record_answers(
        self,
        facts: Facts,
        attempt: AttemptFacts,
        lease: Lease,
        prefix: str,
        there: Sequence[StoredObject],
        folder: Path,
    ) -> tuple[str, ...]:
        """Fetch the answers that a job left below `prefix`; gives the ways to answer, none if none.

        An answer in the folder itself is that of the tuned model. Raises `InputError` for a file
        that cannot be read; another job would answer what is broken in it.
        """
        found: dict[str, StoredObject] = {}
        for item in there:
            match = PREDICTIONS.match(item.uri.removeprefix(prefix))
            if match is not None and item.size_bytes:
                found[match["condition"] or "tuned"] = item
        if "tuned" not in found:
            return ()
        store = self._connections.store(facts.run.target.of(attempt.kind))
        artifacts = []
        for name, item in found.items():
            file = _answers(folder) / f"{name}.jsonl"
            store.get(item, file)
            _check_whole(name, file)
            artifacts.append(
                Artifact("answers", name, item.uri, item.size_bytes, sha256_file(file))
            )
        data = {"source": prefix.rstrip("/"), "files": {a.name: a.size_bytes for a in artifacts}}
        lease.record_artifacts(artifacts, "produced", data, attempt.id)
        return tuple(found)

    def take(self, facts: Facts, lease: Lease, given: Sequence[GivenAnswers], folder: Path) -> None:
        """Take files of answers from a person in the place of those of a job.

        Raises `InputError`, and changes nothing, for a file that does not answer these rows.
        """
        artifacts, rows = [], evaluation_rows(facts, folder)
        for one in given:
            if one.condition in _RESERVED:
                raise InputError(
                    f"answers cannot be given as `{one.condition}`",
                    hint="Names are tuned, base, few-shot, published, or one of your own.",
                )
            answered_rows(rows, _given_file(one.file, one.condition, facts))
        for one in given:
            file = _answers(folder) / f"{one.condition}.jsonl"
            try:
                # As lines of JSON, whatever table it is: so it is read again under this name.
                write_lines(one.file, draft := file.with_name(f".{file.name}"))
                draft.replace(file)
            except OSError as error:
                raise InputError(f"{file} cannot be written: {error.strerror}") from error
            artifacts.append(_artifact(one.condition, file, given=True))
        lease.record_artifacts(artifacts, GIVEN, {})

    def ask(self, facts: Facts, lease: Lease, folder: Path) -> tuple[str, ...]:
        """Have an endpoint answer what it has not answered yet; gives lines for people.

        Every answer is kept as it comes: a pass that is interrupted pays for none of them twice.
        """
        how = planned_for_sure(facts)
        there, seed = answers(facts), facts.run.plan.spec.seed
        rows, told, artifacts = evaluation_rows(facts, folder), [], []
        for name in how.conditions:
            model = how.model if name == "tuned" else how.base_model
            if name in there or how.url is None or model is None:
                continue
            train = Path(facts.run.data_folder) / "train.jsonl"
            found = answer_rows(
                rows,
                Endpoint(how.url, model, how.token_env, concurrency=how.concurrency or 4),
                _answers(folder),
                condition=name,
                asking=Asking(how.max_new_tokens, seed=seed, texts=how.texts or "completion"),
                # The same examples as a job of answers draws.
                examples=Examples(train, how.shots, seed) if name == "few-shot" else None,
                on_progress=lambda *_: lease.keep(),
            )
            artifacts.append(_artifact(name, found.file))
            told.append(f"{name}: {found.answered} of {found.rows} rows answered by {model}")
            told += [f"warning: {line}" for line in found.warnings]
        if artifacts:
            lease.record_artifacts(artifacts, ASKED, {"url": how.url})
        return tuple(told)

    def evaluate(
        self, facts: Facts, lease: Lease, metrics: Sequence[Metric], folder: Path
    ) -> tuple[str, ...]:
        """Score the answers, judge them by the gates, and record both; gives lines for people."""
        how, tune = planned_for_sure(facts), facts.tune
        if tune is None:
            raise LedgerError(f"run {facts.run.id} has no training to evaluate")
        there = {
            name: AnswersFile(
                self._local(facts, artifact, folder),
                _note(name, facts, answered_by(artifact)),
                by_row=answered_by(artifact) != "file",
                own_rows=_is_rehearsal(facts),
            )
            for name, artifact in answers(facts).items()
        }
        if "tuned" not in there:
            raise LedgerError(f"run {facts.run.id} has no answers of the tuned model")
        train = Path(facts.run.data_folder) / "train.jsonl"
        question = Question(
            scorer=how.scorer,
            split=how.split,
            rows=evaluation_rows(facts, folder),
            train=train if train.is_file() else None,
            answers={name: there[name] for name in _in_order(how, there)},
            gates=gates(facts),
            syntax=_syntax(facts),
            nothing_published=_nothing_published(facts),
            audited=audited_figures(facts),
            unscored_rows=unscored_rows(facts),
            training_accuracy=_last(metrics),
            seed=seed_of(facts.run.id),
        )
        with lease.kept():  # tests of programs may take long
            done = evaluate(question)
        done.write_scores(_answers(folder) / SCORES)
        lease.add_event("evaluated", done.evidence.to_json(), tune.id)
        main = done.evidence.conditions[0].metrics[0]
        told = f"{main.name} {main.value:.3f} [{main.low:.3f}, {main.high:.3f}]"
        verdicts = done.evidence.gates
        passed = sum(one.passed for one in verdicts)
        return (
            f"evaluated: {told} on {main.rows} rows; gates passed: {passed} of {len(verdicts)}",
            *(f"alarm: {one.words}" for one in done.evidence.alarms),
            *warnings(how, done.evidence, nothing_published=question.nothing_published),
        )

    def _local(self, facts: Facts, artifact: Artifact, folder: Path) -> Path:
        """The file of an answer, fetched again if it is not here as it was recorded."""
        file = _answers(folder) / f"{artifact.name}.jsonl"
        if file.is_file() and sha256_file(file) == artifact.sha256:
            return file
        store = self._connections.store_of(facts.run.target, artifact.uri)
        here = answered_by(artifact) != "hf-jobs"
        stored = None if here else store.stat(artifact.uri)
        if stored is None:
            raise NotFound(
                f"the answers {file} are gone or were changed, and cannot be had again",
                hint=f"Give them anew: orchestrator evaluate {facts.run.id} --predictions FILE",
            )
        store.get(stored, file)
        if sha256_file(file) != artifact.sha256:
            raise Corrupt(f"{artifact.uri} is not what it was when it was recorded")
        return file


def _check_whole(name: str, file: Path) -> None:
    """Raise `InputError` unless every line of a job's answers can be read."""
    try:
        read_answers(file, "predicted")
    except InputError as error:
        line = f"line {error.where.line}: " if error.where and error.where.line else ""
        raise InputError(f"the answers of {name} are broken: {line}{error.message}") from error


def _nothing_published(facts: Facts) -> bool:
    """Whether the target held nothing when the candidate was offered."""
    offered = candidate(facts)
    if offered is None:
        return False
    return offered.data.get("nothing_published", offered.data.get("target_head") is None) is True


def _given_file(file: Path, condition: str, facts: Facts) -> AnswersFile:
    """A file of a person: its lines are matched with the rows by id or prompt."""
    return AnswersFile(file, condition, by_row=False, own_rows=_is_rehearsal(facts))


def _artifact(condition: str, file: Path, *, given: bool = False) -> Artifact:
    """The answers of one way to answer that lie here, and nowhere else."""
    where = f"{GIVEN_HERE if given else ASKED_HERE}{condition}"
    return Artifact("answers", condition, where, file.stat().st_size, sha256_file(file))


def evaluation_rows(facts: Facts, folder: Path) -> Path:
    """The rows that are answered, as a file of the run."""
    how = planned_for_sure(facts)
    whole = Path(facts.run.data_folder) / f"{how.split}.jsonl"
    if not whole.is_file() or sha256_file(whole) != facts.run.plan.split(how.split).sha256:
        raise LedgerError(
            f"{whole} is missing or was changed since the run was submitted",
            hint="Put it back, or work on the machine where the run was submitted.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "evaluation.jsonl"
    draft = folder / f".evaluation-{os.getpid()}.jsonl"
    copy_first_lines(whole, draft, how.rows)
    draft.replace(rows)
    return rows


def _answers(folder: Path) -> Path:
    path = folder / "answers"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _in_order(how: EvaluationPlan, answers: Mapping[str, AnswersFile]) -> list[str]:
    """The ways to answer in the plan's order, and then all others."""
    known = [name for name in how.conditions if name in answers]
    return [*known, *sorted(answers.keys() - set(known))]


def _is_rehearsal(facts: Facts) -> bool:
    checked = facts.last("adapter_checked")
    return checked is not None and bool(checked.data.get("stand_in"))


def _note(name: str, facts: Facts, source: str) -> str:
    """What a way to answer is, on one line."""
    plan, how, offered = facts.run.plan, planned(facts), candidate(facts)
    came_from = _CAME_FROM[source]
    match name:
        case "tuned":
            at = (
                f", loaded from its private candidate {offered.data['revision'][:12]}"
                if offered and not came_from
                else ""
            )
            return f"the tuned model{at}{came_from}"
        case "base":
            return f"{plan.model.hub_id} without the tuning, shown no examples{came_from}"
        case "few-shot":
            shots = how.shots if how else 0
            return f"{plan.model.hub_id} without the tuning, shown {shots} training rows{came_from}"
        case "published":
            at = f" at {offered.data['target_head'][:12]}" if offered else ""
            return f"what {facts.run.target.repo} held{at}{came_from}"
    return name


def _syntax(facts: Facts) -> Syntax | None:
    called = facts.run.plan.model.call_syntax
    known = {one.value for one in Syntax}
    return Syntax(called) if called in known and not _is_rehearsal(facts) else None


def _last(metrics: Sequence[Metric]) -> float | None:
    """The last share of training tokens that were right."""
    for name in _ACCURACIES:
        points = [one for one in metrics if one.name == name]
        if points:
            return max(points, key=lambda one: one.step).value
    return None
