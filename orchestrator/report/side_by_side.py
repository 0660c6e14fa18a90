"""Rows side by side: what was expected, what the base model and the tuned one said.

Chosen by a stated rule, never by eye: rows that tuning gained, rows that it lost and rows that are
still wrong, those with the largest change of the main metric first, then in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.evaluation.evidence import Evidence
from orchestrator.report.differences import Piece, cut, differences, laid_out, say_the_same
from orchestrator.report.evaluated import BASE, TUNED, higher_is_better, main_metric
from orchestrator.report.local_answers import Answer, LocalAnswers, RowScore

#: Changes of a row's score that are smaller say nothing.
_SAME = 1e-9


@dataclass(frozen=True)
class Said:
    """What one condition said: its text in pieces against what was expected, and its score."""

    condition: str
    pieces: tuple[Piece, ...]
    score: float | None
    causes: tuple[str, ...]
    #: False where it said nothing at all.
    answered: bool
    stopped_by: str
    #: Nothing is missing and nothing extra, also behind what is shown.
    is_as_expected: bool


@dataclass(frozen=True)
class Example:
    """A row with what was expected and what was said."""

    key: str
    prompt: str
    expected: str
    said: tuple[Said, ...]


@dataclass(frozen=True)
class ExampleGroup:
    """Examples of one kind out of so many rows, and the rule that chose them."""

    name: str
    rule: str
    rows: int
    examples: tuple[Example, ...]


def example_groups(
    evaluation: Evidence, answers: LocalAnswers, *, most: int
) -> tuple[ExampleGroup, ...]:
    """At most so many rows each: gained, lost, still wrong; without a base, wrong and right."""
    tuned = answers.scores.get(TUNED)
    metric = _metric_of_rows(evaluation, tuned) if tuned else None
    if metric is None or not tuned:
        return ()
    higher = higher_is_better(evaluation, metric)
    best = 1.0 if higher else 0.0
    base = answers.scores.get(BASE)
    if not base:
        return _without_base(answers, metric, tuned, best, most)
    changes = {
        key: (score.values[metric] - base[key].values[metric]) * (1 if higher else -1)
        for key, score in tuned.items()
        if metric in score.values and key in base and metric in base[key].values
    }
    gained = sorted((k for k, c in changes.items() if c > _SAME), key=lambda k: -changes[k])
    lost = sorted((k for k, c in changes.items() if c < -_SAME), key=lambda k: changes[k])
    wrong = [
        key
        for key, change in changes.items()
        if abs(change) <= _SAME and abs(tuned[key].values[metric] - best) > _SAME
    ]
    order = "the largest change first, then in the order of the rows"
    parts = (
        ("Gained", f"rows whose {metric} is better than the base model's, {order}", gained),
        ("Lost", f"rows whose {metric} is worse than the base model's, {order}", lost),
        (
            "Still wrong",
            f"rows whose {metric} is as it was and not {best:g}, in the order of the rows",
            wrong,
        ),
    )
    return tuple(
        _group(answers, name, rule, keys, (BASE, TUNED), metric, most) for name, rule, keys in parts
    )


def example_of(answers: LocalAnswers, key: str, metric: str | None) -> Example | None:
    """One row by its key, the tuned model's answer alone; None if it is not on this machine."""
    return _example(answers, key, (TUNED,), metric)


def _metric_of_rows(evaluation: Evidence, scores: Mapping[str, RowScore]) -> str | None:
    """The main metric, or the first that single rows have: some are of all rows together."""
    of_rows = {name for score in scores.values() for name in score.values}
    named = [main_metric(evaluation), *(kind.name for kind in evaluation.kinds)]
    return next((name for name in named if name in of_rows), None)


def _without_base(
    answers: LocalAnswers, metric: str, tuned: Mapping[str, RowScore], best: float, most: int
) -> tuple[ExampleGroup, ...]:
    known = {key: score.values[metric] for key, score in tuned.items() if metric in score.values}
    wrong = [key for key, value in known.items() if abs(value - best) > _SAME]
    right = [key for key, value in known.items() if abs(value - best) <= _SAME]
    order = "in the order of the rows; no base model was evaluated"
    parts = (
        ("Wrong", f"rows whose {metric} is not {best:g}, {order}", wrong),
        ("Right", f"rows whose {metric} is {best:g}, {order}", right),
    )
    return tuple(
        _group(answers, name, rule, keys, (TUNED,), metric, most) for name, rule, keys in parts
    )


def _group(
    answers: LocalAnswers,
    name: str,
    rule: str,
    keys: Sequence[str],
    conditions: Sequence[str],
    metric: str,
    most: int,
) -> ExampleGroup:
    shown: list[Example] = []
    for key in keys:
        if len(shown) == most:
            break
        example = _example(answers, key, conditions, metric)
        if example is not None:
            shown.append(example)
    return ExampleGroup(name, rule, len(keys), tuple(shown))


def _example(
    answers: LocalAnswers, key: str, conditions: Sequence[str], metric: str | None
) -> Example | None:
    found = [(name, answers.answer(name, key)) for name in conditions]
    given = [answer for _, answer in found if answer is not None]
    if not given:
        return None
    expected = given[0].expected
    said = tuple(
        _said(name, answer, answers.scores.get(name, {}).get(key), metric)
        for name, answer in found
        if answer is not None
    )
    return Example(key, cut(answers.prompts.get(key, "")), laid_out(expected, "")[0], said)


def _said(name: str, answer: Answer, score: RowScore | None, metric: str | None) -> Said:
    wanted, given = laid_out(answer.expected, answer.said or "")
    return Said(
        condition=name,
        pieces=differences(wanted, given) if answer.said else (),
        score=score.values.get(metric) if score and metric else None,
        causes=score.causes if score else (),
        answered=bool(answer.said),
        stopped_by=answer.stopped_by,
        is_as_expected=bool(answer.said) and say_the_same(answer.expected, answer.said or ""),
    )
