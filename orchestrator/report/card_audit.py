"""What people and judge models gave the answers, for the card: counts, and no name of a person."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from orchestrator import audit_facts
from orchestrator.audit_facts import SCALE, Audit, AuditSummary
from orchestrator.evaluation.agreement import PairAgreement, agreement
from orchestrator.ledger import Facts
from orchestrator.report.card_text import (
    DASH,
    Markdown,
    Mask,
    code,
    count,
    escaped,
    interval,
    number,
    own,
    table,
)

#: A rubric's name and version, which looks like an address to some.
_RUBRIC = re.compile(r"[a-z][a-z0-9-]{0,60}@\d{1,6}")


@dataclass(frozen=True)
class CardAudits:
    """Everybody's newest scores of the published model's answers; people are only numbered."""

    every: tuple[Audit, ...]
    summary: AuditSummary | None


def audits_of(facts: Facts, mask: Mask) -> CardAudits:
    """The audits of a run: of people in the order in which they first gave scores, of models."""
    people, models = audit_facts.audits(facts), audit_facts.judges(facts)
    named = [(f"reviewer {place}", one) for place, one in enumerate(people, 1)]
    named += [(f"judge model {mask(one.who)}", one) for one in models]
    every = tuple(
        Audit(who, one.condition, _rubric(one.rubric, mask), one.scores)
        for who, one in named
        if one.scores
    )
    return CardAudits(every, audit_facts.audit_summary(facts))


def _rubric(name: str, mask: Mask) -> str:
    return name if _RUBRIC.fullmatch(name) else mask(name)


def audit_lines(audits: CardAudits) -> list[str]:
    """The section of the card; nothing where nobody looked at answers."""
    if not audits.every:
        return []
    header = ("by", "rubric", "answers", "mean", *(f"score {one}" for one in SCALE))
    lines = [
        "### Answers that were looked at",
        "",
        "Some answers of the published model, drawn by a seed, got a score from 0 to 5.",
        "",
        *table(header, map(_row, audits.every)),
        *_summed(audits.summary),
    ]
    pairs = [
        (one, other, found)
        for one, other in itertools.combinations(audits.every, 2)
        if one.rubric == other.rubric and (found := agreement(one.scores, other.scores))
    ]
    if pairs:
        header = ("of", "answers of both", "the same score", "at most one apart", "weighted kappa")
        lines += [*table(header, (_pair(*pair) for pair in pairs))]
    return lines


def _summed(summary: AuditSummary | None) -> list[str]:
    """What people gave all in all, in a sentence."""
    if summary is None:
        return []
    who = "1 reviewer" if summary.reviewers == 1 else f"{summary.reviewers} reviewers"
    words = f"{who}, {summary.rows:,} answers: mean "
    words += interval(summary.mean, summary.low, summary.high)
    if summary.alpha is not None:
        alpha = interval(summary.alpha, summary.alpha_low, summary.alpha_high)
        words += f"; Krippendorff's alpha (interval) {alpha}"
    if summary.rows_shared:
        words += f"; scores two or more apart: {summary.disagreements:,} of {summary.rows_shared:,}"
    return [f"{words}.", ""]


def _row(audit: Audit) -> tuple[Markdown, ...]:
    given = list(audit.scores.values())
    return (
        escaped(audit.who),
        code(audit.rubric) if audit.rubric else DASH,
        count(len(given)),
        own(f"{sum(given) / len(given):.2f}"),
        *(count(given.count(score)) for score in SCALE),
    )


def _pair(one: Audit, other: Audit, found: PairAgreement) -> tuple[Markdown, ...]:
    return (
        escaped(f"{one.who}, {other.who}"),
        count(found.rows),
        own(f"{found.same.value:.0%}"),
        own(f"{found.within_one.value:.0%}"),
        number(found.kappa),
    )
