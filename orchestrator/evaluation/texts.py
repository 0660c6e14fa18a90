"""Scores texts against one right text: exact match, chrF, BLEU; and losses by token.

BLEU is that of a corpus: n-grams of all rows are counted before anything is divided, so each row
gives its counts, and an interval draws rows again. The counts of sacrebleu 2.6 (Post 2018) are
taken as the definition, its tokens `13a` (those of NIST's mteval-v13a) included.

Losses, perplexity and the accuracy of tokens are measured where the model is
(`generate.py --likelihood`); only rows whose answers come with them count for those.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import InputError
from orchestrator.evaluation.scores import (
    NOTHING,
    Answered,
    Likelihood,
    MetricKind,
    Part,
    RowScores,
    yes,
)

_WORDS, _LETTERS = 4, 6
_BLEU_ORDERS = tuple(f"bleu_{order}" for order in range(1, _WORDS + 1))
#: Tokens by row; below is always 1, so that no row is left out for being empty.
_LENGTHS = ("bleu_said", "bleu_expected")
_CHRF_PARTS = tuple(
    f"chrf_{side}_{order}" for order in range(1, _LETTERS + 1) for side in ("precision", "recall")
)

EXACT_MATCH = MetricKind(
    "exact_match", "Answers that are the expected text, white space at both ends apart."
)
CHRF = MetricKind(
    "chrf",
    "F-score of the character n-grams (to 6, recall twice) of all answers, 0 to 100: chrF2 of"
    " sacrebleu (Popović 2015).",
    scale="chrf",
    parts=_CHRF_PARTS,
)
BLEU = MetricKind(
    "bleu",
    "BLEU of all answers as one corpus, 0 to 100: tokens 13a, orders 1 to 4, smoothing exp, as"
    " sacrebleu (Papineni et al. 2002, Post 2018).",
    scale="bleu",
    parts=(*_BLEU_ORDERS, *_LENGTHS),
)

LOSS = MetricKind(
    "loss", "Mean cross-entropy of the expected tokens, in nats by token.", higher_is_better=False
)
PERPLEXITY = MetricKind(
    "perplexity",
    "e to the mean cross-entropy of the expected tokens.",
    higher_is_better=False,
    scale="exp",
)
TOKEN_ACCURACY = MetricKind(
    "token_accuracy",
    "Expected tokens that were the likeliest after all expected ones before them.",
)
#: What is measured by token; the first says most.
BY_TOKEN = (LOSS, PERPLEXITY, TOKEN_ACCURACY)


@dataclass(frozen=True)
class TextScorer:
    """Texts against one right text."""

    name: str = "text"
    metrics: tuple[MetricKind, ...] = (EXACT_MATCH, CHRF, BLEU, *BY_TOKEN)

    def score(self, row: Answered) -> RowScores:
        """The parts of one row; `InputError` where the expected text is empty."""
        if not row.expected.strip():
            raise InputError(
                f"row {row.key}: the expected text is empty",
                hint="give each row the text that is right",
            )
        said = row.predicted or ""
        right = said.strip() == row.expected.strip()
        parts = {
            EXACT_MATCH.name: yes(right),
            **_chrf_parts(said, row.expected),
            **_bleu_parts(said, row.expected),
            **_likelihood_parts(row.likelihood),
        }
        causes = () if right else ("other text" if said.strip() else "empty",)
        return RowScores(row.key, parts, row.slices, causes)


def token_parts(
    *, tokens: int, loss: float | None = None, right: int | None = None
) -> Mapping[str, Part]:
    """The parts of a row of `tokens` expected tokens, by what was measured of it.

    `loss` is their mean cross-entropy in nats, `right` how many were the likeliest. A loss that is
    not a number counts as infinite: a broken model must not look better for rows left out.
    `ValueError` for numbers that no measurement gives.
    """
    if tokens < 0 or (loss is not None and loss < 0) or not 0 <= (right or 0) <= tokens:
        raise ValueError(f"no measurement: {tokens} tokens, loss {loss}, {right} right")
    parts: dict[str, Part] = {}
    if tokens == 0:
        return parts
    if loss is not None:
        total = math.inf if math.isnan(loss) else loss * tokens
        parts |= {one.name: Part(total, tokens) for one in (LOSS, PERPLEXITY)}
    if right is not None:
        parts[TOKEN_ACCURACY.name] = Part(right, tokens)
    return parts


def _likelihood_parts(found: Likelihood | None) -> Mapping[str, Part]:
    if found is None or found.tokens == 0:
        return {}
    mean = None if found.loss is None else found.loss / found.tokens
    return token_parts(tokens=found.tokens, loss=mean, right=found.right)


def _bleu_parts(said: str, expected: str) -> dict[str, Part]:
    tokens, right = _tokens_13a(said), _tokens_13a(expected)
    matches = _matches(tokens, right, _WORDS)
    parts = {}
    for order, name in enumerate(_BLEU_ORDERS, start=1):
        total = max(0, len(tokens) - order + 1)
        parts[name] = Part(matches[order - 1], total) if total else NOTHING
    said_name, expected_name = _LENGTHS
    return {**parts, said_name: Part(len(tokens)), expected_name: Part(len(right))}


def _chrf_parts(said: str, expected: str) -> dict[str, Part]:
    letters, right = "".join(said.split()), "".join(expected.split())
    matches = _matches(letters, right, _LETTERS)
    parts: dict[str, Part] = {}
    for order, both in enumerate(matches, start=1):
        total, wanted = (max(0, len(text) - order + 1) for text in (letters, right))
        # An order that the expected text is too short for says nothing about the answer.
        parts[f"chrf_precision_{order}"] = Part(both, total) if total and wanted else NOTHING
        parts[f"chrf_recall_{order}"] = Part(both, wanted) if wanted else NOTHING
    return parts


def _matches(said: Sequence[str], expected: Sequence[str], orders: int) -> list[int]:
    """For each order, how many n-grams were said that are expected, each as often as it is."""
    matches: list[int] = []
    for order in range(1, orders + 1):
        if matches and matches[-1] == 0:  # what has no part in common has no whole in common
            matches.append(0)
            continue
        left = Counter(_grams(expected, order))
        found = 0
        # One by one: what is kept grows with the expected text, not with what a model said.
        for gram in _grams(said, order):
            if left.get(gram, 0) > 0:
                left[gram] -= 1
                found += 1
        matches.append(found)
    return matches


def _grams(text: Sequence[str], order: int) -> Iterator[object]:
    for start in range(len(text) - order + 1):
        gram = text[start : start + order]
        yield gram if isinstance(gram, str) else tuple(gram)


_ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
#: The four rules of mteval-v13a: marks stand alone; a full stop or comma parts from all but digits
#: on both sides; a dash after a digit parts.
_MARKS_13A = (
    (re.compile(r"([!-&(-+:-@\[-`{-~/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def _tokens_13a(text: str) -> list[str]:
    """The tokens of NIST's mteval-v13a for languages with spaces."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        for name, letter in _ENTITIES.items():
            text = text.replace(name, letter)
    text = f" {text} "
    for mark, parted in _MARKS_13A:
        text = mark.sub(parted, text)
    return text.split()
