"""How far several who score the same answers agree. Pure.

Cohen's kappa with quadratic weights (Cohen 1968) for two, Krippendorff's alpha (2011) for any
number of them, with rows that some left out. Neither is defined where all scores are the same. Both
take the steps of the scale for equal by default, as a mean does: by ranks, a scale on which nearly
all answers get the best score would make one step from it the greatest difference there is.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from orchestrator.evaluation.intervals import Share, share_of
from orchestrator.evaluation.resampling import RESAMPLES, draws, percentile_interval

#: How far apart two scores are: only equal or not, by how many scores lie between, by difference.
Level = Literal["nominal", "ordinal", "interval"]
#: From so many points of the scale on, two scores of a row are a disagreement to look at.
FAR_APART = 2


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairAgreement:
    """Two who scored the same `rows`. `kappa` is None where it is not defined."""

    rows: int
    same: Share
    within_one: Share
    kappa: float | None


def agreement(one: Mapping[str, int], other: Mapping[str, int]) -> PairAgreement | None:
    """How far two agree, by the scores of each row; None where they share no row."""
    pairs = [(one[key], other[key]) for key in sorted(one.keys() & other.keys())]
    if not pairs:
        return None
    return PairAgreement(
        len(pairs),
        share_of([first == second for first, second in pairs]),
        share_of([abs(first - second) <= 1 for first, second in pairs]),
        quadratic_kappa(pairs),
    )


def quadratic_kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968); None where all scores are the same.

    The weights' scale cancels out: the mean squared difference of pairs through that of all first
    with all second scores.
    """
    if not pairs:
        return None
    rows = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(two for _, two in pairs)
    expected = math.fsum(
        times * others * (one - two) ** 2
        for one, times in first.items()
        for two, others in second.items()
    )
    if expected == 0:
        return None
    observed = math.fsum((one - two) ** 2 for one, two in pairs)
    return 1 - observed * rows / expected


def krippendorff_alpha(units: Sequence[Sequence[float]], level: Level = "interval") -> float | None:
    """Krippendorff's alpha; `units` are the scores that each row got, by however many scored it.

    Rows with one score say nothing and are left out. None where nothing is left, or all scores are
    one and the same. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    totals: Counter[float] = sum(paired, Counter())
    distance = _distances(totals, level)
    number = totals.total()
    expected = math.fsum(totals[a] * totals[b] * gap for (a, b), gap in distance.items())
    if expected == 0:
        return None
    observed = math.fsum(
        unit[a] * unit[b] * distance[a, b] / (unit.total() - 1)
        for unit in paired
        for a, b in combinations(sorted(unit), 2)
    )
    # Both sums have each pair of values once; the formula has it twice, above and below.
    return 1 - (number - 1) * observed / expected


def _distances(totals: Counter[float], level: Level) -> dict[tuple[float, float], float]:
    """The squared distance of each two values that were given."""
    values = sorted(totals)
    found: dict[tuple[float, float], float] = {}
    for place, low in enumerate(values):
        for high in values[place + 1 :]:
            match level:
                case "nominal":
                    gap = 1.0
                case "interval":
                    gap = high - low
                case "ordinal":
                    between = sum(totals[one] for one in values if low <= one <= high)
                    gap = between - (totals[low] + totals[high]) / 2
            found[low, high] = gap * gap
    return found


def alpha_estimate(
    units: Sequence[Sequence[float]], level: Level = "interval", *, seed: int = 0
) -> Estimate | None:
    """Alpha with the interval of the percentile bootstrap over rows.

    Draws in which it is not defined are left out: those say nothing.
    """
    paired = [unit for unit in units if len(unit) > 1]
    value = krippendorff_alpha(paired, level)
    if value is None:
        return None
    draw = random.Random(f"alpha {len(paired)} seed {seed}")  # noqa: S311 (repeatable, no secret)
    drawn = (
        krippendorff_alpha(draw.choices(paired, k=len(paired)), level) for _ in range(RESAMPLES)
    )
    low, high = percentile_interval([one for one in drawn if one is not None])
    return Estimate(value, low, high)


def mean_estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean with the interval of the percentile bootstrap; `ValueError` without values."""
    if not values:
        raise ValueError("there are no values")
    mean = math.fsum(values) / len(values)
    sums = (total for (total,) in draws([values], seed=seed))
    return Estimate(mean, *percentile_interval([total / len(values) for total in sums]))


def point_biserial(right: Sequence[bool], scores: Sequence[float]) -> float | None:
    """The point-biserial correlation of answers right or wrong with scores; from -1 to 1.

    None where all are right, all are wrong, or all have one score (Pearson 1909).
    """
    pairs = list(zip(right, scores, strict=True))
    good = [score for is_right, score in pairs if is_right]
    bad = [score for is_right, score in pairs if not is_right]
    if not good or not bad or len(set(scores)) < 2:
        return None
    rows, mean = len(pairs), math.fsum(scores) / len(pairs)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / rows)
    apart = math.fsum(good) / len(good) - math.fsum(bad) / len(bad)
    return apart / spread * math.sqrt(len(good) * len(bad)) / rows


def far_apart(by_rater: Sequence[Mapping[str, int]]) -> tuple[str, ...]:
    """The keys of rows whose scores differ by two or more, those furthest apart first."""
    gaps: dict[str, int] = {}
    for key in sorted({key for scores in by_rater for key in scores}):
        given = [scores[key] for scores in by_rater if key in scores]
        gap = max(given) - min(given)
        if gap >= FAR_APART:
            gaps[key] = gap
    return tuple(sorted(gaps, key=lambda key: -gaps[key]))
