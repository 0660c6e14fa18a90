"""What the ledger says of a run's candidate, its evaluation, and what people decided about it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.errors import LedgerError
from orchestrator.ledger import Artifact, AttemptFacts, DamagedRun, Event, Facts
from orchestrator.plan import EvaluationPlan
from orchestrator.services.base import AttemptKind
from orchestrator.spec import GateBlock

#: A person had a run judged otherwise than its plan says, without training anything again.
CHANGED = "judging_changed"
#: A person gave answers in the place of those of a job.
GIVEN = "answers_given"
#: An endpoint answered.
ASKED = "answers_asked"
#: The same answers are to be judged once more: people have scored some of them since.
AGAIN = "judging_again"
#: In the place of a URI, for answers that lie on one machine alone: a person's, an endpoint's.
GIVEN_HERE, ASKED_HERE = "given:", "asked:"


def planned(facts: Facts) -> EvaluationPlan | None:
    """How the run is evaluated: as a person changed it last, or as its plan says."""
    changed = facts.last(CHANGED)
    if changed is None:
        return facts.run.plan.evaluation
    try:
        value = changed.data["evaluation"]
        return EvaluationPlan.model_validate(value) if value is not None else None
    except (KeyError, ValidationError) as error:
        raise _damaged(facts, changed) from error


def planned_for_sure(facts: Facts) -> EvaluationPlan:
    """The same; raises `LedgerError` for a run that is not evaluated."""
    found = planned(facts)
    if found is None:
        raise LedgerError(f"run {facts.run.id} was not planned to be evaluated")
    return found


def gates(facts: Facts) -> tuple[GateBlock, ...]:
    """What the run's evaluation must reach."""
    changed = facts.last(CHANGED)
    if changed is None:
        return facts.run.plan.gates
    try:
        return tuple(map(GateBlock.model_validate, changed.data["gates"]))
    except (KeyError, TypeError, ValidationError) as error:
        raise _damaged(facts, changed) from error


def _damaged(facts: Facts, event: Event) -> DamagedRun:
    """Nothing is decided on an event that lacks something: gates that are lost never pass."""
    return DamagedRun(
        f"the ledger's record of run {facts.run.id} is damaged (event {event.kind} does not say "
        "how to judge)",
        hint="Put back a copy of the ledger.",
    )


def judging(evaluation: EvaluationPlan | None, wanted: tuple[GateBlock, ...]) -> dict[str, Any]:
    """The event that has a run judged by these from now on."""
    return {
        "evaluation": evaluation.model_dump(mode="json") if evaluation else None,
        "gates": [gate.model_dump(mode="json") for gate in wanted],
    }


def attempt_kinds(facts: Facts) -> tuple[AttemptKind, ...]:
    """What is executed for the run, in order."""
    how = planned(facts)
    kinds = [AttemptKind(kind) for kind in facts.run.plan.attempt_kinds]
    kinds = [kind for kind in kinds if kind is not AttemptKind.GENERATE]
    if how is not None and how.service == "hf-jobs":
        kinds.insert(1, AttemptKind.GENERATE)
    return tuple(kinds)


def newest(facts: Facts, kind: AttemptKind) -> AttemptFacts | None:
    """The newest attempt of a kind that is about the newest training.

    What was made of a training before that one says nothing of it.
    """
    return max(attempts_of(facts, kind), key=lambda one: one.ordinal, default=None)


def attempts_of(facts: Facts, kind: AttemptKind) -> tuple[AttemptFacts, ...]:
    """The attempts of a kind that are about the newest training; of trainings, all."""
    those = tuple(one for one in facts.attempts if one.kind is kind)
    if kind is AttemptKind.TUNE or facts.tune is None:
        return those
    start = _began(facts, facts.tune.id)
    return tuple(one for one in those if _began(facts, one.id) >= start)


def answers(facts: Facts) -> dict[str, Artifact]:
    """The answers that there are, by the way to answer; none if all are of an earlier training."""
    tune = facts.tune
    start = _began(facts, tune.id) if tune is not None else 0
    generated = {one.id for one in facts.attempts if one.kind is AttemptKind.GENERATE}
    for event in facts.events[start:]:
        made = event.kind == "produced" and event.attempt_id in generated
        if made or event.kind in (GIVEN, ASKED):
            return facts.artifacts_of("answers")
    return {}


def answered_by(answers_file: Artifact) -> Literal["hf-jobs", "endpoint", "file"]:
    """Where answers came from, whatever the plan says: a person may have given others."""
    if answers_file.uri.startswith(GIVEN_HERE):
        return "file"
    return "endpoint" if answers_file.uri.startswith(ASKED_HERE) else "hf-jobs"


def is_judged(facts: Facts) -> bool:
    """Whether anything was decided on the files of the newest training, which then must stay."""
    kinds = ("candidate", "evaluated", "gates_overridden")
    return any(_of_training(facts, kind) is not None for kind in kinds)


def _began(facts: Facts, attempt_id: str) -> int:
    """The place of an attempt's first event; its intent is one."""
    return next((n for n, e in enumerate(facts.events) if e.attempt_id == attempt_id), 0)


def candidate(facts: Facts) -> Event | None:
    """Where the checked files of the newest training lie, for evaluation; None if nowhere yet."""
    return _of_training(facts, "candidate")


def evaluation(facts: Facts) -> Event | None:
    """The newest evaluation of the newest training, unless it is to be judged anew since."""
    found = _of_training(facts, "evaluated")
    later = max(_place(facts, kind) for kind in (GIVEN, CHANGED, AGAIN))
    return found if found is not None and _place(facts, "evaluated") > later else None


def override(facts: Facts) -> Event | None:
    """A person's decision to publish the newest training whatever its evaluation says."""
    return _of_training(facts, "gates_overridden")


def needs_candidate(facts: Facts) -> bool:
    """Whether the plan's evaluation loads the tuned model from the Hub."""
    how = planned(facts)
    return how is not None and how.service == "hf-jobs"


def _place(facts: Facts, kind: str) -> int:
    """The place of the newest event of a kind; -1 if there is none."""
    places = [number for number, event in enumerate(facts.events) if event.kind == kind]
    return max(places, default=-1)


def _of_training(facts: Facts, kind: str) -> Event | None:
    tune = facts.tune
    if tune is None:
        return None
    found = (e for e in reversed(facts.events) if e.kind == kind and e.attempt_id == tune.id)
    return next(found, None)
