"""What people and judge models gave a run's answers, and how far they and the scorer agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import audit_facts, audit_notes, run_answers
from orchestrator.audit_facts import Audit, AuditSummary
from orchestrator.errors import InputError
from orchestrator.evaluation import audit_sampling
from orchestrator.evaluation.agreement import (
    Estimate,
    PairAgreement,
    agreement,
    far_apart,
    mean_estimate,
    point_biserial,
)
from orchestrator.ledger import Facts


@dataclass(frozen=True)
class RaterFigures:
    """What one reviewer, or one judge model, gave."""

    who: str
    rows: int
    mean: Estimate
    counts: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "name": self.who,
            "rows": self.rows,
            "mean": self.mean.value,
            "low": self.mean.low,
            "high": self.mean.high,
            "counts": list(self.counts),
        }


@dataclass(frozen=True)
class Pair:
    """Two who scored the same rows."""

    one: str
    other: str
    found: PairAgreement

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "one": self.one,
            "other": self.other,
            "rows": self.found.rows,
            "same": self.found.same.value,
            "within_one": self.found.within_one.value,
            "kappa": self.found.kappa,
        }


@dataclass(frozen=True)
class Disagreement:
    """A row whose scores are two or more apart: the scores, and notes that are on this machine."""

    key: str
    scores: Mapping[str, int]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class AgainstScorer:
    """People's scores beside the scorer's main metric: right rows should have the higher mean.

    `correlation` is point-biserial, of right or wrong with the mean of people's scores of the row.
    """

    metric: str
    right_rows: int
    right_mean: float | None
    wrong_rows: int
    wrong_mean: float | None
    correlation: float | None


@dataclass(frozen=True)
class AuditReport:
    """All that is known of a run's audits. `other_rubrics` counts audits that are left aside."""

    condition: str
    summary: AuditSummary | None
    reviewers: tuple[RaterFigures, ...]
    judges: tuple[RaterFigures, ...]
    pairs: tuple[Pair, ...]
    disagreements: tuple[Disagreement, ...]
    against_scorer: AgainstScorer | None
    other_rubrics: int

    def to_json(self) -> dict[str, Any]:
        """As data."""
        against = self.against_scorer
        return {
            "condition": self.condition,
            "summary": self.summary.to_json() if self.summary else None,
            "reviewers": [one.to_json() for one in self.reviewers],
            "judges": [one.to_json() for one in self.judges],
            "pairs": [one.to_json() for one in self.pairs],
            "disagreements": [asdict(one) for one in self.disagreements],
            "against_scorer": asdict(against) if against else None,
            "other_rubrics": self.other_rubrics,
        }


def report(facts: Facts, folder: Path, condition: str) -> AuditReport:
    """What people and judge models gave, and how far they agree."""
    every = [one for one in audit_facts.audits(facts, condition) if one.scores]
    judged = [one for one in audit_facts.judges(facts, condition) if one.scores]
    newest = (every or judged)[-1].rubric if every or judged else ""
    people = [one for one in every if one.rubric == newest]
    models = [one for one in judged if one.rubric == newest]
    named = [*people, *(_as_judge(one) for one in models)]
    pairs = [
        Pair(one.who, other.who, found)
        for place, one in enumerate(named)
        for other in named[place + 1 :]
        if (found := agreement(one.scores, other.scores)) is not None
    ]
    return AuditReport(
        condition,
        audit_facts.summary_of(people),
        tuple(map(_figures, people)),
        tuple(map(_figures, models)),
        tuple(pairs),
        _disagreements(people, folder, condition),
        _against_scorer(facts, folder, condition, people),
        len(every) + len(judged) - len(people) - len(models),
    )


def _as_judge(audit: Audit) -> Audit:
    return Audit(f"judge {audit.who}", audit.condition, audit.rubric, audit.scores)


def _figures(audit: Audit) -> RaterFigures:
    given = [audit.scores[key] for key in sorted(audit.scores)]
    counts = tuple(given.count(score) for score in audit_facts.SCALE)
    return RaterFigures(audit.who, len(given), mean_estimate(given), counts)


def _disagreements(
    people: Sequence[Audit], folder: Path, condition: str
) -> tuple[Disagreement, ...]:
    keys = far_apart([one.scores for one in people])
    notes = (
        {one.who: audit_notes.read(folder, condition, one.who) for one in people} if keys else {}
    )
    return tuple(
        Disagreement(
            key,
            {one.who: one.scores[key] for one in people if key in one.scores},
            {who: texts[key] for who, texts in notes.items() if key in texts},
        )
        for key in keys
    )


def _against_scorer(
    facts: Facts, folder: Path, condition: str, people: Sequence[Audit]
) -> AgainstScorer | None:
    """None where nobody scored, or the rows' automatic scores are not on this machine."""
    try:
        evidence = run_answers.evidence_of(facts)
        rows = {row.key: row for row in run_answers.scored(facts, folder, condition)}
    except InputError:
        return None
    kind = run_answers.kinds_of(evidence)[0]
    by_row: dict[str, list[int]] = {}
    for audit in people:
        for key, score in audit.scores.items():
            by_row.setdefault(key, []).append(score)
    pairs = [
        (right, sum(given) / len(given))
        for key, given in by_row.items()
        if key in rows and (right := audit_sampling.is_right(kind, rows[key])) is not None
    ]
    if not pairs:
        return None
    good, bad = ([score for right, score in pairs if right is one] for one in (True, False))
    return AgainstScorer(
        kind.name,
        len(good),
        sum(good) / len(good) if good else None,
        len(bad),
        sum(bad) / len(bad) if bad else None,
        point_biserial([right for right, _ in pairs], [score for _, score in pairs]),
    )
