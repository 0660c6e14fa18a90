"""What the ledger says of people and judge models who scored a run's answers.

The ledger holds keys of rows and scores: no text of a row, and no note of a reviewer, which may
repeat one. Scores count as long as the answers that they were given to are the run's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.evaluation.agreement import (
    PairAgreement,
    agreement,
    alpha_estimate,
    far_apart,
    mean_estimate,
)
from orchestrator.evaluation.evidence import Figures
from orchestrator.evaluation.rubric import ANSWER_QUALITY
from orchestrator.ledger import Event, Facts
from orchestrator.spec import AUDIT_MEAN

SAMPLED, AUDITED, JUDGED = "audit_sampled", "audited", "judged"
TUNED = "tuned"
SCALE = range(ANSWER_QUALITY.lowest, ANSWER_QUALITY.highest + 1)


@dataclass(frozen=True)
class Sample:
    """Answers that were drawn for people: the keys of their rows, and what drew them."""

    id: str
    condition: str
    seed: int
    keys: tuple[str, ...]
    rubric: str
    answers_sha256: str

    def to_json(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return {**asdict(self), "keys": list(self.keys)}


@dataclass(frozen=True)
class Audit:
    """The newest scores of one reviewer, or of one judge model, by the keys of rows."""

    who: str
    condition: str
    rubric: str
    scores: Mapping[str, int]


@dataclass(frozen=True)
class AuditSummary:
    """What people gave a run's answers, in figures: no names, no texts, no keys.

    `distribution` counts the scores from 0 to 5, by however many gave them. `mean` is over rows, of
    each row's mean. `rows_shared` have scores of two reviewers or more: over those are
    `alpha` (Krippendorff, interval), `kappa` (Cohen, quadratic weights; the mean of all pairs of
    reviewers), `same` and `within_one` (shares of two reviewers' scores of a row), and
    `disagreements`, the rows whose scores differ by two or more. None: not defined.
    """

    rubric: str
    reviewers: int
    rows: int
    scores: int
    mean: float
    low: float
    high: float
    distribution: tuple[int, ...]
    rows_shared: int = 0
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None
    kappa: float | None = None
    same: float | None = None
    within_one: float | None = None
    disagreements: int = 0

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {**asdict(self), "distribution": list(self.distribution)}


def samples(facts: Facts) -> dict[str, Sample]:
    """What was drawn from the run's present answers, by its id."""
    found = {}
    for event in _current(facts, SAMPLED):
        data = event.data
        if isinstance(data.get("id"), str):
            found[data["id"]] = Sample(
                data["id"],
                str(data.get("condition")),
                int(data.get("seed", 0)),
                tuple(map(str, data.get("keys", ()))),
                str(data.get("rubric")),
                str(data.get("answers_sha256")),
            )
    return found


def audits(facts: Facts, condition: str = TUNED) -> tuple[Audit, ...]:
    """The newest scores of each reviewer, in the order in which they first gave some."""
    return _newest(scores_given(facts, condition), AUDITED, "reviewer", condition)


def audited_figures(facts: Facts) -> Figures | None:
    """What people gave the tuned model's answers on average; None where nobody looked at them."""
    found = audit_summary(facts)
    if found is None:
        return None
    return Figures(AUDIT_MEAN, found.mean, found.low, found.high, found.rows)


def unscored_rows(facts: Facts) -> int:
    """How many of the tuned answers that were drawn last nobody has scored yet."""
    drawn = [one for one in samples(facts).values() if one.condition == TUNED]
    if not drawn:
        return 0
    scored = {key for audit in audits(facts) for key in audit.scores}
    return len(set(drawn[-1].keys) - scored)


def judges(facts: Facts, condition: str = TUNED) -> tuple[Audit, ...]:
    """The newest scores of each judge model."""
    return _newest(scores_given(facts, condition), JUDGED, "model", condition)


def audit_summary(facts: Facts, condition: str = TUNED) -> AuditSummary | None:
    """What people gave the run's present answers; None where nobody looked at them.

    Scores of different rubrics are never put together: those of the newest one count.
    """
    return summary_of(audits(facts, condition))


def summary_of(every: Iterable[Audit]) -> AuditSummary | None:
    """The figures of reviewers' scores."""
    given = [one for one in every if one.scores]
    given = [one for one in given if one.rubric == given[-1].rubric]
    if not given:
        return None
    by_row: dict[str, list[int]] = {}
    for audit in given:
        for key, score in audit.scores.items():
            by_row.setdefault(key, []).append(score)
    units = [by_row[key] for key in sorted(by_row)]
    mean = mean_estimate([math.fsum(unit) / len(unit) for unit in units])
    alpha = alpha_estimate(units)
    pairs = _pairs(given)
    kappas = [one.kappa for one in pairs if one.kappa is not None]
    both = sum(one.rows for one in pairs)
    return AuditSummary(
        rubric=given[-1].rubric,
        reviewers=len(given),
        rows=len(units),
        scores=sum(map(len, units)),
        mean=mean.value,
        low=mean.low,
        high=mean.high,
        distribution=tuple(sum(unit.count(score) for unit in units) for score in SCALE),
        rows_shared=sum(len(unit) > 1 for unit in units),
        alpha=alpha.value if alpha else None,
        alpha_low=alpha.low if alpha else None,
        alpha_high=alpha.high if alpha else None,
        kappa=math.fsum(kappas) / len(kappas) if kappas else None,
        same=sum(one.same.right for one in pairs) / both if both else None,
        within_one=sum(one.within_one.right for one in pairs) / both if both else None,
        disagreements=len(far_apart([one.scores for one in given])),
    )


def _pairs(given: Iterable[Audit]) -> list[PairAgreement]:
    found = (agreement(a.scores, b.scores) for a, b in itertools.combinations(given, 2))
    return [one for one in found if one is not None]


def present_answers(facts: Facts, condition: str) -> str | None:
    """The digest of a condition's answers as they are recorded now."""
    artifact = facts.artifacts_of("answers").get(condition)
    return artifact.sha256 if artifact else None


def scores_given(facts: Facts, condition: str = TUNED) -> tuple[Event, ...]:
    """The events in which people and judge models scored the run's present answers."""
    return tuple(
        event
        for kind in (AUDITED, JUDGED)
        for event in _current(facts, kind)
        if event.data.get("condition", TUNED) == condition
    )


def _current(facts: Facts, kind: str) -> list[Event]:
    """The events of a kind about answers that are the run's still, oldest first.

    An event that does not say which answers it is about, is about those evaluated before it.
    """
    evaluated = [place for place, event in enumerate(facts.events) if event.kind == "evaluated"]
    since = evaluated[-1] if evaluated else -1
    found = []
    for place, event in enumerate(facts.events):
        digest = event.data.get("answers_sha256")
        condition = str(event.data.get("condition", TUNED))
        is_current = (
            place > since if digest is None else digest == present_answers(facts, condition)
        )
        if event.kind == kind and is_current:
            found.append(event)
    return found


def _newest(events: Iterable[Event], kind: str, who: str, condition: str) -> tuple[Audit, ...]:
    found: dict[str, Audit] = {}
    for event in events:
        if event.kind == kind:
            name = str(event.data.get(who))
            found[name] = Audit(name, condition, str(event.data.get("rubric")), _scores(event.data))
    return tuple(found.values())


def _scores(data: Mapping[str, Any]) -> dict[str, int]:
    """The scores that are of the scale; what another release wrote may hold others."""
    lines = [one for one in data.get("scores") or () if isinstance(one, Mapping)]
    return {
        str(one.get("key")): one["score"]
        for one in lines
        if type(one.get("score")) is int and one["score"] in SCALE
    }
