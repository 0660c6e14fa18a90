"""Runs whose cards are looked at: facts out of a real ledger, changed where a test wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.evaluation.evidence import ConditionFigures, Evidence
from orchestrator.ledger import Artifact, Event, Facts, Ledger, Metric, Target
from orchestrator.plan import Plan
from orchestrator.report.views import RunView, view
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from tests.manual_clock import START, ManualClock
from tests.report.runs import condition, evidence, outcomes, training

REPO = "alice/router-adapter"
VERTEX = Target("vertex", "acme-tuning-4711", "us-central1", "gs://acme-rows-eu/tuning", REPO)
JOBS = Target(
    "hf-jobs",
    "acme-payer",
    "",
    "hf://datasets/acme-payer/orchestrator-staging",
    REPO,
    candidates="acme-payer/router-candidates",
    base_commit="0123456789abcdef0123456789abcdef01234567",
)
CANDIDATE = "89abcdef0123456789abcdef0123456789abcdef"
WEIGHTS = Artifact("adapter", "adapter_model.safetensors", "adapter/x", 4096, "ab" * 32)
ADAPTER = {"kind": "adapter", "rank": 16, "stand_in": None}
GATES = [{"metric": "exact_tool_sequence", "min": 0.7}]


@dataclass(frozen=True)
class CardRun:
    """Facts and curves of a run that trained well; `view` is what its card is made of."""

    facts: Facts = field(repr=False)
    metrics: tuple[Metric, ...] = field(repr=False)

    @property
    def view(self) -> RunView:
        return view(self.facts, list(self.metrics), START + timedelta(days=1))

    def with_event(self, kind: str, data: Mapping[str, Any]) -> CardRun:
        """The run after one more event of its training."""
        tune = self.facts.tune
        assert tune is not None
        event = Event(kind, START, data, tune.id)
        return replace(self, facts=replace(self.facts, events=(*self.facts.events, event)))

    def with_plan(self, **changes: Any) -> CardRun:
        """The run of a changed plan: fields of the plan, of its `spec`, or of its `model`."""
        plan = self.facts.run.plan
        for part in ("spec", "model", "hyperparameters"):
            if part in changes:
                changes[part] = getattr(plan, part).model_copy(update=changes[part])
        changed = plan.model_copy(update=changes)
        return replace(self, facts=replace(self.facts, run=replace(self.facts.run, plan=changed)))

    def with_gates(self, gates: Sequence[Mapping[str, Any]] = GATES) -> CardRun:
        """The run judged by these gates."""
        return self.with_event("judging_changed", {"evaluation": None, "gates": list(gates)})

    def with_target(self, **changes: Any) -> CardRun:
        target = replace(self.facts.run.target, **changes)
        return replace(self, facts=replace(self.facts, run=replace(self.facts.run, target=target)))

    def offered(self, published: str | None = None) -> CardRun:
        """The run with its candidate in its private repo."""
        head = "fe" * 20 if published else None
        data = {"repo": "acme-payer/router-candidates", "revision": CANDIDATE}
        return self.with_event("candidate", {**data, "target_head": head, "published": published})

    def evaluated(self, found: Evidence | None = None) -> CardRun:
        """The run with an evaluation, by default one beside every baseline but the published."""
        return self.with_event("evaluated", (found or full_evidence()).to_json())


def full_evidence(rows: int = 40, **changes: Any) -> Evidence:
    """An evaluation beside the untuned model, with and without examples, and both texts."""
    made = evidence(outcomes(rows), alarms=(), failed=(), gates=(), **changes)
    more: tuple[ConditionFigures, ...] = (
        condition("few-shot", [row % 2 == 0 for row in range(rows)]),
        condition("majority", [row % 9 == 0 for row in range(rows)]),
    )
    return replace(made, conditions=(*made.conditions, *more))


def make_run(
    folder: Path, plan: Plan, target: Target, checked: Mapping[str, Any] | None = None
) -> CardRun:
    """A run that trained well, in a ledger of its own; `checked` is what its check found."""
    clock = ManualClock()
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", clock)
    run = ledger.add_run(plan, target, folder, again=False)
    now = clock.now()
    with ledger.lease(run.id) as lease:
        assert lease is not None
        attempt = lease.record_intent(
            kind=AttemptKind.TUNE, ordinal=1, token=f"orc-{run.id}", deadline_at=now
        )
        handle = Handle(target.service, "projects/482910573621/locations/x/tuningJobs/55667788")
        lease.record_handle(attempt, handle, adopted=False)
        lease.record_snapshot(
            attempt,
            Snapshot(AttemptState.SUCCEEDED, "DONE", now, now, now + timedelta(seconds=754)),
        )
        lease.record_metrics(attempt, training())
        lease.record_artifacts([WEIGHTS], "adapter_checked", dict(checked or ADAPTER), attempt)
    made = CardRun(ledger.facts(run.id), tuple(ledger.metrics(run.id)))
    ledger.close()
    return made


def section(card: str, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = title.split(" ")[0]
    _, found, rest = card.partition(f"\n{title}\n")
    assert found, f"{title} is missing"
    ends = [rest.find(f"\n{'#' * n} ") for n in range(1, len(level) + 1)]
    return rest[: min((end for end in ends if end >= 0), default=len(rest))]


def rows_of(text: str) -> list[list[str]]:
    """The cells of all lines of tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
