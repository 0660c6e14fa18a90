"""Scores how long answers took and how long they are, by what their lines say of it.

`generate.py` and the client of endpoints write with each answer its seconds, its tokens and what
ended it. Seconds by answer are compared only where both were made in the same way: those of
`generate.py` run from the start of a batch, those of an endpoint hold the network and its queue.

Quantiles are no sums, and everything here is made of sums, so that rows can be drawn again: each
answer falls into one of a row of bins, each 7 % wider than the one before, and a quantile
is the mean of the answers in the bin that holds it (`scales.py`). It is within 7 % of the answer
of that rank (nearest rank: Hyndman and Fan 1996, type 1), and of equal times it is the very time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import InputError
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores, yes

#: The first bin holds what is faster, the last what is slower.
FASTEST_S, SLOWEST_S = 0.01, 600.0
_WIDER = 1.07
#: `generate.py` writes seconds to four places.
_PARTS_OF_S = 10_000
_BINS = math.ceil(math.log(SLOWEST_S / FASTEST_S, _WIDER)) + 2
_NAMES = tuple(f"latency_bin_{number}" for number in range(_BINS))
#: Words for the end of an answer that became too long: of `generate.py`, and of endpoints.
CUT = frozenset({"length", "max_new_tokens", "limit"})

LATENCY = MetricKind("latency_s", "Mean seconds an answer took.", higher_is_better=False)
P50 = MetricKind(
    "latency_s_p50",
    "Seconds within which half of the answers were there, to 7 %.",
    higher_is_better=False,
    scale="p50",
    parts=_NAMES,
)
P95 = MetricKind(
    "latency_s_p95",
    "Seconds within which 95 of 100 answers were there, to 7 %.",
    higher_is_better=False,
    scale="p95",
    parts=_NAMES,
)
TOKENS_PER_S = MetricKind(
    "tokens_per_s", "New tokens of all answers through the seconds that they took, one by one."
)
NEW_TOKENS = MetricKind("new_tokens", "Mean tokens of an answer.", higher_is_better=False)
PROMPT_TOKENS = MetricKind("prompt_tokens", "Mean tokens of a prompt.", higher_is_better=False)
CUT_SHARE = MetricKind(
    "cut", "Share of answers that were cut at the most tokens allowed.", higher_is_better=False
)


@dataclass(frozen=True)
class LatencyScorer:
    """How long answers took, how long they are, and how many were cut."""

    name: str = "latency"
    metrics: tuple[MetricKind, ...] = (
        *(LATENCY, P50, P95, TOKENS_PER_S),
        *(NEW_TOKENS, PROMPT_TOKENS, CUT_SHARE),
    )

    @classmethod
    def of(cls, rows: Sequence[Answered]) -> LatencyScorer:
        """The scorer; `InputError` for rows of which none says how its prediction came about."""
        if rows and not any(row.timing for row in rows):
            raise InputError(
                "no prediction says how long it took, how long it is or what ended it",
                hint="`generate.py` and endpoints write `latency_s`, `new_tokens`, `prompt_tokens`"
                " and `stopped_by` with each answer: score their own files.",
            )
        return cls()

    def score(self, row: Answered) -> RowScores:
        """The parts of one row; none where there is no answer, or nothing is known of it."""
        timing = row.timing
        if row.predicted is None:
            return RowScores(row.key, {}, row.slices, ("no answer",))
        if timing is None:
            return RowScores(row.key, {}, row.slices, ("nothing is known of its time",))
        parts: dict[str, Part] = {}
        seconds, tokens = timing.latency_s, timing.new_tokens
        if seconds is not None:
            parts[LATENCY.name] = Part(seconds)
            # In whole numbers, which are drawn again much faster.
            parts[_NAMES[_bin(seconds)]] = Part(round(seconds * _PARTS_OF_S), _PARTS_OF_S)
        if seconds and tokens is not None:
            parts[TOKENS_PER_S.name] = Part(tokens, seconds)
        if tokens is not None:
            parts[NEW_TOKENS.name] = Part(tokens)
        if timing.prompt_tokens is not None:
            parts[PROMPT_TOKENS.name] = Part(timing.prompt_tokens)
        cut = timing.stopped_by in CUT
        if timing.stopped_by is not None:
            parts[CUT_SHARE.name] = yes(cut)
        causes = ("cut at the most tokens allowed",) if cut else ()
        return RowScores(row.key, parts, row.slices, causes)


def _bin(seconds: float) -> int:
    if seconds < FASTEST_S:
        return 0
    return min(_BINS - 1, 1 + math.floor(math.log(seconds / FASTEST_S, _WIDER)))
