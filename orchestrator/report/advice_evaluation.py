"""Rules about how good the answers are: by slice, by cause, and as answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchestrator.evaluation.evidence import ConditionFigures, Evidence, SliceFigures
from orchestrator.report.advising import Advice, percent
from orchestrator.report.axes import interval_text, number_text
from orchestrator.report.evaluated import (
    BASE,
    TUNED,
    higher_is_better,
    main_metric,
    metric_of,
    slice_of,
)

#: A slice of fewer rows is too small to judge.
LEAST_ROWS = 5
#: Shares of answers that are cut or empty, and that are all the same.
CUT_SHARE, EMPTY_SHARE, ALIKE_SHARE = 0.02, 0.02, 0.5
#: One cause has this share of the rows.
CAUSE_SHARE = 0.1
#: An evaluation of fewer rows has wide intervals.
FEW_ROWS = 50
#: So many slices are named.
_MOST_NAMED = 5


def _weak_slices(evaluation: Evidence) -> Iterator[Advice]:
    """Slices that lie below the whole for certain, as far as their interval says."""
    tuned, metric = evaluation.condition(TUNED), main_metric(evaluation)
    whole = tuned.metric(metric) if tuned and metric else None
    if tuned is None or metric is None or whole is None:
        return
    higher = higher_is_better(evaluation, metric)
    weak = []
    for part in tuned.slices:
        found = metric_of(part, metric)
        if found is None or found.rows < LEAST_ROWS:
            continue
        if found.high < whole.value if higher else found.low > whole.value:
            weak.append(f"{_named(part)} {interval_text(found.value, found.low, found.high)}")
    if weak:
        yield Advice(
            "weak classes",
            f"{metric} is {number_text(whole.value)} in all, but {_some(weak)}",
            f"a slice of at least {LEAST_ROWS} rows whose whole interval is worse than the value "
            "of all rows",
            "more rows of these classes, or look at their rows for answers that disagree",
        )


def _lost_slices(evaluation: Evidence) -> Iterator[Advice]:
    tuned, base, metric = (
        evaluation.condition(TUNED),
        evaluation.condition(BASE),
        main_metric(evaluation),
    )
    if tuned is None or base is None or metric is None:
        return
    sign = 1 if higher_is_better(evaluation, metric) else -1
    lost = []
    for part in tuned.slices:
        after = metric_of(part, metric)
        before = metric_of(slice_of(base, part.slice, part.of), metric)
        if after is None or before is None or after.rows < LEAST_ROWS:
            continue
        if sign * (after.value - before.value) < 0:
            change = f"{number_text(before.value)} before, {number_text(after.value)} after"
            lost.append(f"{_named(part)} {change}")
    if lost:
        yield Advice(
            "classes that tuning made worse",
            f"{metric}: {_some(lost)}",
            f"a slice of at least {LEAST_ROWS} rows that is worse than with the base model",
            "more rows of these classes, or fewer epochs",
        )


def _truncated(evaluation: Evidence) -> Iterator[Advice]:
    tuned = evaluation.condition(TUNED)
    share = _share(tuned, tuned.answers.cut) if tuned and tuned.answers else None
    if share is not None and share[0] >= CUT_SHARE:
        yield Advice(
            "answers are cut off",
            f"{share[1]} reached the most tokens that were allowed",
            f"at least {percent(CUT_SHARE)} of the answers",
            "allow more new tokens in the evaluation; if answers go on without end, look whether "
            "the rows end with the model's end-of-turn token",
        )


def _empty(evaluation: Evidence) -> Iterator[Advice]:
    tuned = evaluation.condition(TUNED)
    if tuned is None or tuned.answers is None:
        return
    counts = ((tuned.answers.empty, "are empty"), (tuned.answers.missing, "are missing"))
    for count, words in counts:
        share = _share(tuned, count)
        if share is not None and share[0] >= EMPTY_SHARE:
            yield Advice(
                f"answers {words}",
                f"{share[1]} {words}",
                f"at least {percent(EMPTY_SHARE)} of the answers",
                "look at the raw answers; do training and evaluation use one chat template?",
            )


def _alike(evaluation: Evidence) -> Iterator[Advice]:
    tuned = evaluation.condition(TUNED)
    share = _share(tuned, tuned.answers.commonest_rows) if tuned and tuned.answers else None
    if share is not None and share[0] >= ALIKE_SHARE and evaluation.rows >= LEAST_ROWS:
        yield Advice(
            "answers are alike",
            f"{share[1]} have one and the same answer",
            f"at least {percent(ALIKE_SHARE)} of the answers",
            "balance the classes of the rows; a lower learning rate",
        )


def _commonest_cause(evaluation: Evidence) -> Iterator[Advice]:
    tuned = evaluation.condition(TUNED)
    if tuned is None or not tuned.causes or evaluation.rows < LEAST_ROWS:
        return
    cause = max(tuned.causes, key=lambda cause: cause.rows)
    if cause.rows >= CAUSE_SHARE * evaluation.rows:
        yield Advice(
            "one cause stands out",
            f"{cause.cause}: {cause.rows:,} of {evaluation.rows:,} rows "
            f"({percent(cause.rows / evaluation.rows)})",
            f"at least {percent(CAUSE_SHARE)} of the rows have it",
            "look at its rows below, and at the training rows that are like them",
        )


def _few_rows(evaluation: Evidence) -> Iterator[Advice]:
    if evaluation.rows < FEW_ROWS:
        yield Advice(
            "few rows were evaluated",
            f"{evaluation.rows:,} rows of {evaluation.split or 'the split'}",
            f"fewer than {FEW_ROWS} rows",
            "hold out more rows: intervals are wide, and small gains cannot be told from chance",
        )


EVALUATION_RULES: tuple[Callable[[Evidence], Iterator[Advice]], ...] = (
    _weak_slices,
    _lost_slices,
    _truncated,
    _empty,
    _alike,
    _commonest_cause,
    _few_rows,
)


def _share(condition: ConditionFigures | None, count: int | None) -> tuple[float, str] | None:
    """So many of the answers as a share of them, and in words; None where it is not known."""
    rows = condition.answers.rows if condition and condition.answers else 0
    if not count or not rows:
        return None
    return count / rows, f"{count:,} of {rows:,} answers ({percent(count / rows)})"


def _named(part: SliceFigures) -> str:
    return f"{part.slice}: {part.of} ({part.rows:,} rows)"


def _some(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMED
    shown = "; ".join(words[:_MOST_NAMED])
    return f"{shown}; and {more} more" if more > 0 else shown
