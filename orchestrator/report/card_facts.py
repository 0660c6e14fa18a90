"""What a model card tells of a run, out of the ledger alone, with nothing private in its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from orchestrator import evaluation_facts
from orchestrator.evaluation.evidence import ConditionFigures, Evidence, GateVerdict
from orchestrator.ledger import Event, Facts
from orchestrator.plan import EvaluationPlan
from orchestrator.report.card_audit import CardAudits, audits_of
from orchestrator.report.card_text import Mask
from orchestrator.report.evaluated import TUNED, main_metric
from orchestrator.report.views import RunView
from orchestrator.spec import GateBlock

#: Words of the card itself, after which people call folders and buckets too.
_ORDINARY = (
    *("answers", "base", "data", "dataset", "datasets", "model", "models", "rows", "test"),
    *("train", "training", "tuned", "tuning", "validation"),
)
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card. All texts of `evaluation` and `override` are masked.

    `evaluation` is None where the published model was not evaluated, or where another release
    recorded it in a way that cannot be read (`unreadable`). `override` is a person's reason to
    publish whatever the evaluation says. `nothing_published`: there was nothing before this model
    that it could be held against. `answered_by` is what gave the model's answers: a service, an
    endpoint or a file; None where the ledger does not say.
    """

    view: RunView
    mask: Mask
    how: EvaluationPlan | None
    gates: tuple[GateBlock, ...]
    evaluation: Evidence | None
    unreadable: bool
    override: str | None
    audits: CardAudits
    candidate_revision: str | None
    nothing_published: bool
    answered_by: str | None

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter is published; else it is a whole model."""
        return self.view.adapter is not None and self.view.adapter.get("kind") == "adapter"

    @property
    def repo(self) -> str:
        """The repo on the Hub; empty if the run has none."""
        return self.view.facts.run.target.repo or ""

    @property
    def tuned(self) -> ConditionFigures | None:
        """What the published model reached."""
        return self.evaluation.condition(TUNED) if self.evaluation else None

    @property
    def main_metric(self) -> str | None:
        """The metric that stands for the others."""
        return main_metric(self.evaluation) if self.evaluation else None


def card_facts(view: RunView) -> CardFacts:
    """Gather what the card of a run tells."""
    facts = view.facts
    private, public = list(_private(facts)), list(_public(facts))
    mask = Mask(private, public)
    event = evaluation_facts.evaluation(facts)
    found = _evidence(event)
    offered = evaluation_facts.candidate(facts)
    override = evaluation_facts.override(facts)
    answers = evaluation_facts.answers(facts).get(TUNED)
    return CardFacts(
        view=view,
        mask=mask,
        how=evaluation_facts.planned(facts),
        gates=evaluation_facts.gates(facts),
        evaluation=_masked(found, mask) if found else None,
        unreadable=event is not None and found is None,
        override=_reason(override, Mask([*private, *_people(facts)], public)) if override else None,
        audits=audits_of(facts, mask),
        candidate_revision=_commit(offered.data.get("revision")) if offered else None,
        answered_by=evaluation_facts.answered_by(answers) if answers else None,
        nothing_published=offered is not None and not offered.data.get("published"),
    )


def _evidence(event: Event | None) -> Evidence | None:
    if event is None:
        return None
    try:
        return Evidence.from_json(event.data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def _commit(value: object) -> str | None:
    """A commit of the Hub; None for anything else."""
    text = str(value)
    return text if len(text) == 40 and set(text) <= _HEX else None


def base_commit(view: RunView) -> str | None:
    """The commit of the base model that was tuned, where it is known; a stand-in has none."""
    return None if view.stand_in else _commit(view.facts.run.target.base_commit)


def _masked(evidence: Evidence, mask: Mask) -> Evidence:
    """The evidence with every text masked. Equal texts stay equal, so that names still match."""
    return replace(
        evidence,
        scorer=mask(evidence.scorer),
        split=mask(evidence.split),
        rows_sha256=_digest(evidence.rows_sha256, mask),
        kinds=tuple(
            replace(one, name=mask(one.name), meaning=mask(one.meaning), better=mask(one.better))
            for one in evidence.kinds
        ),
        conditions=tuple(_masked_condition(one, mask) for one in evidence.conditions),
        comparisons=tuple(
            replace(one, metric=mask(one.metric), against=mask(one.against))
            for one in evidence.comparisons
        ),
        gates=tuple(_masked_gate(one, mask) for one in evidence.gates),
        alarms=tuple(
            replace(one, name=mask(one.name), words=mask(one.words)) for one in evidence.alarms
        ),
        failed=tuple(map(mask, evidence.failed)),
    )


def _digest(text: str, mask: Mask) -> str:
    return text if len(text) == 64 and set(text) <= _HEX else mask(text)


def _masked_condition(one: ConditionFigures, mask: Mask) -> ConditionFigures:
    return replace(
        one,
        name=mask(one.name),
        note=mask(one.note),
        metrics=tuple(replace(metric, name=mask(metric.name)) for metric in one.metrics),
        slices=tuple(
            replace(
                part,
                slice=mask(part.slice),
                of=mask(part.of),
                metrics=tuple(replace(metric, name=mask(metric.name)) for metric in part.metrics),
            )
            for part in one.slices
        ),
        # Causes quote what a model said, and keys name rows: neither is anybody else's business.
        causes=(),
    )


def _masked_gate(one: GateVerdict, mask: Mask) -> GateVerdict:
    return replace(
        one,
        metric=mask(one.metric),
        words=mask(one.words),
        slice=(mask(one.slice[0]), mask(one.slice[1])) if one.slice else None,
        better_than=mask(one.better_than) if one.better_than else None,
    )


def _public(facts: Facts) -> Iterator[str]:
    """Names that the card tells anyway."""
    plan = facts.run.plan
    for name in (facts.run.target.repo or "", plan.model.hub_id, plan.model.id):
        yield name
        yield from name.split("/")
    yield from (plan.name, facts.run.id, plan.spec.service.name, *_ORDINARY)


def _private(facts: Facts) -> Iterator[str]:
    """Names that the ledger holds of a run and its people, and that the card must not tell."""
    run = facts.run
    target, spec = run.target, run.plan.spec
    yield from (target.project, target.jobs_namespace or "", spec.service.namespace or "")
    for place in (target.bucket, target.candidates, target.jobs_rows):
        yield from _parts(place or "")
    files = spec.data.split.files
    split_files = (files.train, files.validation, files.test) if files else ()
    for path in (run.data_folder, spec.data.path or "", *(one or "" for one in split_files)):
        yield from (path, PurePosixPath(path.replace("\\", "/")).name)
        if "://" in path:
            yield from _parts(path)
    if spec.evaluation is not None:
        yield spec.evaluation.namespace or ""
        yield urlsplit(spec.evaluation.url or "").hostname or ""
    for attempt in facts.attempts:
        yield attempt.token
        if attempt.handle is not None:
            yield from (attempt.handle.id, attempt.handle.id.rsplit("/", 1)[-1])


def _parts(place: str) -> Iterator[str]:
    """A bucket or repo with and without what leads to it."""
    _, _, rest = place.rpartition("://")
    yield rest
    rest = rest.removeprefix("datasets/")
    yield from (rest, rest.split("/")[0], rest.split("/")[-1])


def _people(facts: Facts) -> Iterator[str]:
    """Who decided and reviewed, with the parts of their names.

    They are masked in what people write alone: `root` is a word of its own in a slice of the data.
    """
    for event in facts.events:
        for role in ("by", "reviewer"):
            who = event.data.get(role)
            if isinstance(who, str):
                yield from (who, *re.split(r"[\s@.,;]+", who))


def _reason(override: Event, mask: Mask) -> str:
    return mask(override.data.get("reason", ""))
