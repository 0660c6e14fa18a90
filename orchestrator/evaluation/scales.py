"""What sums of parts are turned into: ratios, perplexities, BLEU, chrF and quantiles.

Each scale takes the sums (above, below) of a metric's parts over some rows, in the order of
`MetricKind.parts`. Sums of several parts stand in for one ratio where the metric of a corpus is
not the mean of its rows: BLEU is made of n-gram counts that are added up first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

#: The sums above and below of one part.
Sums = tuple[float, float]


def ratio(sums: Sequence[Sums]) -> float:
    """The sum above through the sum below."""
    ((above, below),) = sums
    return above / below


def exponential(sums: Sequence[Sums]) -> float:
    """e to the ratio: a perplexity where the ratio is nats by token; infinite beyond a float."""
    try:
        return math.exp(ratio(sums))
    except OverflowError:
        return math.inf


def bleu(sums: Sequence[Sums]) -> float:
    """BLEU from 0 to 100 (Papineni et al. 2002), smoothed as sacrebleu does unless told otherwise.

    The parts: n-grams that match through n-grams said, for each order; then tokens said, and
    tokens expected. The k-th order without a match counts as 1 / 2^k matches (mteval's smoothing,
    method 3 of Chen and Cherry 2014); an order of which nothing is said makes the score 0.
    """
    *orders, (said, _), (expected, _) = sums
    if not any(match for match, _ in orders) or any(total == 0 for _, total in orders):
        return 0.0
    logs, halvings = 0.0, 0
    for match, total in orders:
        halvings += match == 0
        logs += math.log((match or 0.5**halvings) / total)
    brevity = min(0.0, 1 - expected / said)
    # A float's last bit must not put a perfect score above 100.
    return min(100.0, 100 * math.exp(brevity + logs / len(orders)))


def chrf(sums: Sequence[Sums]) -> float:
    """chrF from 0 to 100 with recall weighing twice as precision (Popović 2015, 2016).

    The parts: by order, n-grams of characters that match through those said, then the same matches
    through those expected. Precision and recall are means over the orders that both texts have.
    """
    pairs = list(zip(sums[::2], sums[1::2], strict=True))
    pairs = [(said, expected) for said, expected in pairs if said[1] > 0 and expected[1] > 0]
    if not pairs:
        return 0.0
    precision = math.fsum(match / total for (match, total), _ in pairs) / len(pairs)
    recall = math.fsum(match / total for _, (match, total) in pairs) / len(pairs)
    if precision + recall == 0:
        return 0.0
    return 100 * 5 * precision * recall / (4 * precision + recall)


def median(sums: Sequence[Sums]) -> float:
    """The bin that holds the middle of all, as `quantile` has it."""
    return quantile(sums, 0.5)


def most(sums: Sequence[Sums]) -> float:
    """The bin that 95 of 100 reach, as `quantile` has it."""
    return quantile(sums, 0.95)


def quantile(sums: Sequence[Sums], share: float) -> float:
    """The mean of the first bin with which no less than this share of all is reached.

    The parts are bins in rising order: what their values come to, through how many they are.
    """
    # A float's last bit must not ask for one more than there are.
    wanted = share * math.fsum(count for _, count in sums) * (1 - 1e-12)
    reached = 0.0
    for total, count in sums:
        reached += count
        if count > 0 and reached >= wanted:
            return total / count
    raise ValueError("no bin holds anything")


#: By the names that `MetricKind.scale` takes.
SCALES: Mapping[str, Callable[[Sequence[Sums]], float]] = {
    "ratio": ratio,
    "exp": exponential,
    "bleu": bleu,
    "chrf": chrf,
    "p50": median,
    "p95": most,
}
#: Of bins in rising order, of which empty ones say nothing.
QUANTILES = frozenset({"p50", "p95"})
