"""Rules about how the training went: its losses and accuracies, point by point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import median

from orchestrator.plan import Plan
from orchestrator.report.advising import Advice, percent
from orchestrator.report.axes import number_text
from orchestrator.report.curves import Curve

#: Fewer logged points say nothing about the shape of a curve.
LEAST_POINTS = 10
#: Converging too fast: this share of the loss's whole fall within this share of the points.
FAST_FALL, FAST_PART = 0.9, 0.15
#: Converging too slowly: the loss fell by less than this in all.
SLOW_FALL = 0.05
#: Stopped too early: the last fifth of the points is this much below the fifth before.
STILL_FALLING = 0.05
#: Too long: the last validation loss is this much over the lowest.
OVERFIT = 0.05
#: Unstable: a point after the first third is so many times the median of those points.
SPIKE = 2.0
#: An unusual learning rate: so many times the model's baseline, or so small a part of it.
FAR_FROM_BASELINE = 5.0
#: This share of the rows that were read is left out because they are too long.
TOO_LONG_SHARE = 0.02
#: Memorised: token accuracy on training rows, and how far it is above that on validation rows.
MEMORISED_ACCURACY, MEMORISED_GAP = 0.98, 0.15


def _rate(plan: Plan) -> str:
    hyper = plan.hyperparameters
    if hyper.learning_rate_multiplier is None or hyper.baseline_learning_rate is None:
        return f"learning rate {hyper.learning_rate:g}"
    return (
        f"learning rate {hyper.learning_rate:g}, {hyper.learning_rate_multiplier:g} × "
        "the model's baseline"
    )


def _speed(plan: Plan, curves: Mapping[str, Curve]) -> Iterator[Advice]:
    """Whether the training loss falls too fast, too slowly, or still falls at the end.

    Of each fifth the median counts: one strange point decides nothing.
    """
    loss = curves.get("loss")
    if loss is None or len(loss.points) < LEAST_POINTS:
        return
    values = loss.values
    fifth, first = max(2, len(values) // 5), max(1, round(len(values) * FAST_PART))
    start, end = values[0], median(values[-fifth:])
    before = median(values[-2 * fifth : -fifth])
    fall = start - end
    whole = f"training loss {number_text(start)} at first, {number_text(end)} in the last fifth"
    if start <= 0:
        return
    if -fall >= SLOW_FALL * start:
        yield Advice(
            "does not converge",
            f"{whole}: {percent(-fall / start)} more; {_rate(plan)}",
            f"the loss rises by at least {percent(SLOW_FALL)}",
            "a lower learning rate, or a longer warm-up",
        )
        return
    if fall < SLOW_FALL * start:
        change = f"{percent(fall / start)} less" if fall >= 0 else f"{percent(-fall / start)} more"
        yield Advice(
            "converges too slowly",
            f"{whole}: {change}; {_rate(plan)}",
            f"the loss falls by less than {percent(SLOW_FALL)}",
            "a higher learning rate; or look whether the rows teach anything that the model "
            "does not do yet",
        )
        return
    early = min(1.0, (start - min(values[: first + 1])) / fall)
    if early >= FAST_FALL:
        yield Advice(
            "converges too fast",
            f"{percent(early)} of the fall within the first {first} of {len(values)} points; "
            f"{whole}; {_rate(plan)}",
            f"at least {percent(FAST_FALL)} of the fall in the first {percent(FAST_PART)}",
            "a lower learning rate, or fewer epochs; rows that are much alike do this too",
        )
    elif before > 0 and (before - end) / before >= STILL_FALLING and not _turned(curves):
        yield Advice(
            "stopped while it learned",
            f"training loss {number_text(end)} in the last fifth of the points, "
            f"{number_text(before)} in the fifth before; {plan.hyperparameters.epochs} epochs",
            f"the last fifth is at least {percent(STILL_FALLING)} lower",
            "more epochs, or a higher learning rate",
        )


def _turned(curves: Mapping[str, Curve]) -> bool:
    """Whether the validation loss has risen again: then more of the same makes it worse."""
    held_out = curves.get("eval_loss")
    return held_out is not None and held_out.last.value > held_out.lowest.value


def _overfitting(plan: Plan, curves: Mapping[str, Curve]) -> Iterator[Advice]:
    held_out = curves.get("eval_loss")
    if held_out is None or len(held_out.points) < 2:
        return
    lowest, last = held_out.lowest, held_out.last
    if lowest.value > 0 and last.value > lowest.value * (1 + OVERFIT):
        at = f"epoch {lowest.epoch:.1f}" if lowest.epoch is not None else f"step {lowest.step:,}"
        yield Advice(
            "trained too long",
            f"validation loss {number_text(last.value)} at the end, lowest "
            f"{number_text(lowest.value)} at {at} of {plan.hyperparameters.epochs} epochs",
            f"the end is more than {percent(OVERFIT)} above the lowest",
            f"stop near {at}, or a lower learning rate, or more rows",
        )


def _unstable(plan: Plan, curves: Mapping[str, Curve]) -> Iterator[Advice]:
    loss = curves.get("loss")
    if loss is None or len(loss.points) < LEAST_POINTS:
        return
    later = loss.points[len(loss.points) // 3 :]
    middle = median(point.value for point in later)
    worst = max(later, key=lambda point: point.value)
    if middle > 0 and worst.value > SPIKE * middle:
        yield Advice(
            "unstable",
            f"training loss {number_text(worst.value)} at step {worst.step:,}, where the median "
            f"after the first third is {number_text(middle)}; {_rate(plan)}",
            f"a point after the first third is over {SPIKE:g} × their median",
            "a lower learning rate, a longer warm-up, or larger batches",
        )


def _memorised(_: Plan, curves: Mapping[str, Curve]) -> Iterator[Advice]:
    trained, held_out = curves.get("mean_token_accuracy"), curves.get("eval_mean_token_accuracy")
    if trained is None or held_out is None:
        return
    gap = trained.last.value - held_out.last.value
    if trained.last.value >= MEMORISED_ACCURACY and gap >= MEMORISED_GAP:
        yield Advice(
            "memorised",
            f"token accuracy {number_text(trained.last.value)} on training rows, "
            f"{number_text(held_out.last.value)} on validation rows",
            f"at least {MEMORISED_ACCURACY:g} in training, and at least {MEMORISED_GAP:g} above "
            "validation",
            "fewer epochs, a lower rank, more rows; look for rows that stand in the data twice",
        )


def _unusual_rate(plan: Plan, _: Mapping[str, Curve]) -> Iterator[Advice]:
    times = plan.hyperparameters.learning_rate_multiplier
    if times is not None and not 1 / FAR_FROM_BASELINE < times < FAR_FROM_BASELINE:
        yield Advice(
            "learning rate far from the baseline",
            _rate(plan),
            f"at least {FAR_FROM_BASELINE:g} times the baseline, or at most a "
            f"{FAR_FROM_BASELINE:g}th of it",
            "a run with the baseline beside it, to know what the other rate is worth",
        )


def _too_long(plan: Plan, _: Mapping[str, Curve]) -> Iterator[Advice]:
    rows, left_out = plan.data.rows, plan.data.left_out.too_long
    if rows and left_out >= TOO_LONG_SHARE * rows:
        yield Advice(
            "rows were too long",
            f"{left_out:,} of {rows:,} rows ({percent(left_out / rows)}) were left out",
            f"at least {percent(TOO_LONG_SHARE)} of the rows that were read",
            "a greater longest row, or shorter rows: what is left out is not learned",
        )


TRAINING_RULES: tuple[Callable[[Plan, Mapping[str, Curve]], Iterator[Advice]], ...] = (
    _speed,
    _overfitting,
    _unstable,
    _memorised,
    _unusual_rate,
    _too_long,
)
