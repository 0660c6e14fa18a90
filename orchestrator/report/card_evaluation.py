"""The part of a model card that says what the model reached, always beside what others reach."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from orchestrator.evaluation.evidence import ConditionFigures, Difference, Evidence, Figures
from orchestrator.report.card_facts import CardFacts
from orchestrator.report.card_plots import CardPlot
from orchestrator.report.card_text import (
    DASH,
    Markdown,
    code,
    count,
    escaped,
    interval,
    number,
    own,
    signed_interval,
    table,
)
from orchestrator.report.card_training import pictures
from orchestrator.report.evaluated import (
    BASE,
    ORDER,
    TUNED,
    higher_is_better,
    in_order,
    meaning_of,
    metric_of,
    slice_of,
)

#: Metrics that stand in the first table, and slices of one kind: the report has them all.
_MOST_METRICS = 4
_MOST_SLICES = 40
#: The ways to answer by their names on the card.
_NAMES = {
    TUNED: "this model",
    BASE: "base model, untuned",
    "few-shot": "base model, shown examples",
    "published": "what was published before",
    "constant": "the best constant answer",
    "majority": "the commonest training answer",
}
_NOT_MEASURED = own("not measured")
_NOTHING_THERE = own("nothing was there")
_ANSWERED = {
    "hf-jobs": "A job of Hugging Face Jobs loaded the published files, and answered.",
    "endpoint": "An endpoint that served the model answered.",
    "file": "The answers were given as a file.",
}
_CHECKED = (
    "What was checked: the files are whole and safe to load, rank and base model are the planned "
    "ones, all weights are finite, and the adapter is not empty."
)


def evaluation_lines(
    card: CardFacts, plots: Sequence[CardPlot], drawn: Collection[str]
) -> list[str]:
    """The section with its tables, or that there was no evaluation."""
    lines = ["## Evaluation", ""]
    evaluation = card.evaluation
    if card.unreadable:
        words = "The answers were evaluated, by a release whose record this one cannot read."
        return [*lines, words, ""]
    if evaluation is None:
        words = "The model's answers were not evaluated before it was published."
        return [*lines, f"{words} {_CHECKED}", ""]
    return [
        *lines,
        *_beside(card, evaluation),
        *pictures(plots, drawn),
        *_all_metrics(evaluation),
        *_slices(card, evaluation),
        *_comparisons(card, evaluation),
        *_answers(evaluation),
    ]


def main_metrics(card: CardFacts) -> list[str]:
    """The metrics that decide: the main one, the gated ones, then the scorer's first."""
    if card.evaluation is None or card.tuned is None:
        return []
    measured = [one.name for one in card.tuned.metrics]
    named = [
        *([card.main_metric] if card.main_metric else []),
        *(gate.metric for gate in card.evaluation.gates),
        *(kind.name for kind in card.evaluation.kinds),
        *measured,
    ]
    found = list(dict.fromkeys(name for name in named if name in measured))
    gated = {gate.metric for gate in card.evaluation.gates}
    return found[: max(_MOST_METRICS, len(gated & {*found}))]


def _beside(card: CardFacts, evaluation: Evidence) -> list[str]:
    """The first table: every way to answer, those that were not measured too."""
    metrics = main_metrics(card)
    header = ("answered by", "rows", *(_titled(evaluation, name) for name in metrics))
    rows = []
    known = {one.name for one in evaluation.conditions}
    others = [one.name for one in in_order(evaluation) if one.name not in ORDER]
    for name in (TUNED, *(one for one in reversed(ORDER) if one != TUNED), *others):
        found = evaluation.condition(name)
        title = _title(name, bold=True)
        absent = name == "published" and card.nothing_published
        if found is None:
            cells = [_NOTHING_THERE if absent else _NOT_MEASURED for _ in metrics]
        else:
            cells = [_figures(found.metric(metric), evaluation.rows) for metric in metrics]
        rows.append((title, count(evaluation.rows) if found else DASH, *cells))
    notes = [f"- {_noted(one)}" for one in in_order(evaluation) if one.note and one.name in known]
    came_from = f" {_ANSWERED[card.answered_by]}" if card.answered_by else ""
    if card.view.stand_in:
        came_from = " In a rehearsal the answers are the stand-in's, or made up."
    watched, unseen = "", "whether it was trained on them is not known"
    if not card.view.facts.is_adopted:
        unseen = "it was trained on none of them"
        watched = ", by which its training was watched," if evaluation.split == "validation" else ""
    return [
        (
            f"{evaluation.rows:,} rows of the split {code(evaluation.split)}{watched} were "
            f"answered and scored as {code(evaluation.scorer)}; {unseen}. In brackets: 95 % "
            f"intervals.{came_from}"
        ),
        "",
        *table(header, rows),
        *notes,
        "",
    ]


def _noted(condition: ConditionFigures) -> str:
    """What a way to answer is, once."""
    title, note = _title(condition.name), escaped(condition.note)
    return note if note.startswith(title) else f"{title}: {note}"


def _title(condition: str, *, bold: bool = False) -> Markdown:
    """A way to answer by its name on the card; a text of ours comes first in any case."""
    if condition == TUNED and bold:
        return own(f"**{_NAMES[TUNED]}**")
    return own(_NAMES[condition] if condition in _NAMES else f"answers {code(condition)}")


def _titled(evaluation: Evidence, metric: str) -> Markdown:
    better = "" if higher_is_better(evaluation, metric) else " ↓"
    return own(f"{code(metric)}{better}")


def _figures(found: Figures | None, rows: int) -> Markdown:
    """A value with its interval, and its rows where they are not all."""
    if found is None:
        return DASH
    of = "" if found.rows == rows else f" of {found.rows:,}"
    return own(f"{interval(found.value, found.low, found.high)}{of}")


def _all_metrics(evaluation: Evidence) -> list[str]:
    """Every metric of the model and of the base model, with what it means."""
    tuned, base = evaluation.condition(TUNED), evaluation.condition(BASE)
    if tuned is None:
        return []
    shown = [one for one in (tuned, base) if one is not None]
    header = ("metric", "meaning", *(_title(one.name) for one in shown), "rows")
    rows = [
        (
            _titled(evaluation, one.name),
            escaped(meaning_of(evaluation, one.name).meaning) or DASH,
            *(_figures(condition.metric(one.name), one.rows) for condition in shown),
            count(one.rows),
        )
        for one in tuned.metrics
    ]
    lower = any(not higher_is_better(evaluation, one.name) for one in tuned.metrics)
    lines = ["### All metrics", "", *table(header, rows)]
    return [*lines, "↓: lower is better.", ""] if lower else lines


def _slices(card: CardFacts, evaluation: Evidence) -> list[str]:
    """The main metric by slice: one table for each kind of slice."""
    metric, tuned = card.main_metric, card.tuned
    if metric is None or tuned is None or not tuned.slices:
        return []
    lines = [f"### {code(metric)} by slice", ""]
    for name in dict.fromkeys(one.slice for one in tuned.slices):
        parts = [one for one in tuned.slices if one.slice == name]
        measured = [
            one
            for one in reversed(in_order(evaluation))
            if any(metric_of(slice_of(one, name, part.of), metric) for part in parts)
        ]
        titles = (_title(one.name) for one in measured)
        rows = [
            (
                escaped(part.of) or DASH,
                count(part.rows),
                *(
                    _figures(metric_of(slice_of(one, name, part.of), metric), part.rows)
                    for one in measured
                ),
            )
            for part in parts[:_MOST_SLICES]
        ]
        lines += table((escaped(name) or DASH, "rows", *titles), rows)
        if len(parts) > _MOST_SLICES:
            lines += [f"And {len(parts) - _MOST_SLICES:,} more.", ""]
    return lines


def _comparisons(card: CardFacts, evaluation: Evidence) -> list[str]:
    """This model against the others, row by row."""
    metrics = main_metrics(card)
    found = [one for one in evaluation.comparisons if one.metric in metrics]
    if not found:
        return []
    header = ("metric", "against", "rows", "before", "after", "difference", "p", "gained", "lost")
    return [
        "### Compared row by row",
        "",
        *table(header, map(_comparison, found)),
        "p: McNemar's exact test for shares, the paired bootstrap elsewhere; two-sided.",
        "",
    ]


def _comparison(one: Difference) -> tuple[Markdown, ...]:
    return (
        code(one.metric),
        _title(one.against),
        count(one.rows),
        number(one.before),
        number(one.after),
        signed_interval(one.difference, one.low, one.high),
        own(f"{one.p_value:.2g}") if math.isfinite(one.p_value) else DASH,
        count(one.gained),
        count(one.lost),
    )


def _answers(evaluation: Evidence) -> list[str]:
    """What the answers look like, right or wrong."""
    rows = [
        (
            _title(one.name),
            *_shape(one),
        )
        for one in reversed(in_order(evaluation))
        if one.answers is not None
    ]
    if not rows:
        return []
    header = ("answered by", "rows", "missing", "empty", "cut off", "different", "commonest")
    more = ("mean tokens", "seconds, median", "seconds, 95 %")
    return ["### The answers themselves", "", *table((*header, *more), rows)]


def _shape(one: ConditionFigures) -> tuple[Markdown, ...]:
    found = one.answers
    assert found is not None  # noqa: S101 (only those with answers are asked)
    counts = (found.rows, found.missing, found.empty, found.cut, found.different)
    measured = (found.tokens_mean, found.latency_s_p50, found.latency_s_p95)
    return (*map(count, counts), count(found.commonest_rows), *map(number, measured))
