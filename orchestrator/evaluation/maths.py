r"""Scores final answers of mathematics, where they are asked for and wherever they stand.

Numbers and expressions are equal where math-verify 0.9 (Hugging Face) says so: fractions and
decimals of one value (to 6 decimals), `50%` with both 0.5 and 50, units and separators of
thousands without meaning, `x = 5` with 5. Letters A to E and words are compared as such. The
expected answer is the row's text after its last `####` or in its last `\boxed{…}`, or all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import InputError
from orchestrator.evaluation import math_answers
from orchestrator.evaluation.math_answers import Sort
from orchestrator.evaluation.math_checking import LONGEST, Verdict, compare, is_reasonable
from orchestrator.evaluation.scores import Answered, MetricKind, RowScores, yes

FLEXIBLE = MetricKind(
    "math_flexible",
    "Answers whose last number, expression, letter or words are right, wherever they stand"
    " (math-verify).",
)
STRICT = MetricKind(
    "math_strict",
    "Answers that are right where an answer is asked for: in the last \\boxed{} or after the last"
    " #### (math-verify).",
)
NO_ANSWER = MetricKind(
    "no_answer",
    "Answers in which no number, expression, letter or words could be read.",
    higher_is_better=False,
)


@dataclass(frozen=True)
class MathScorer:
    """Final answers of mathematics: strict, flexible, and none at all."""

    name: str = "math"
    metrics: tuple[MetricKind, ...] = (FLEXIBLE, STRICT, NO_ANSWER)

    def score(self, row: Answered) -> RowScores:
        """The parts of one row; `InputError` where its expected answer is none, or unreadable."""
        expected = _expected(row)
        said = math_answers.after_thought(row.predicted or "")
        final = math_answers.final_answer(said)
        if final is not None:
            strict = flexible = _final(row, expected, final)
        else:
            strict, flexible = Verdict.UNREAD, _anywhere(row, expected, said)
        parts = {
            FLEXIBLE.name: yes(flexible is Verdict.EQUAL),
            STRICT.name: yes(strict is Verdict.EQUAL),
            NO_ANSWER.name: yes(flexible is Verdict.UNREAD),
        }
        return RowScores(row.key, parts, row.slices, _causes(strict, flexible))


def _causes(strict: Verdict, flexible: Verdict) -> tuple[str, ...]:
    if strict is Verdict.EQUAL:
        return ()
    return (
        {
            Verdict.EQUAL: "right, but not where the answer is asked for",
            Verdict.DIFFERENT: "wrong answer",
            Verdict.TOO_LARGE: "answer too large to compare",
        }.get(flexible, "no answer"),
    )


def _expected(row: Answered) -> str:
    expected = math_answers.after_thought(row.expected)
    answer = math_answers.final_answer(expected) or expected
    if not math_answers.plain(answer):
        raise InputError(
            f"row {row.key}: the expected answer is empty",
            hint="give each row the answer that is right: a number, an expression, a letter, words",
        )
    return answer


def _final(row: Answered, expected: str, final: str) -> Verdict:
    """Whether an answer that stands by itself is right."""
    sort = math_answers.sort_of(expected)
    if sort is Sort.LETTER:
        return _same(math_answers.letter(expected), math_answers.letter(final))
    if sort is Sort.WORDS:
        return _same(math_answers.words(expected), math_answers.words(final))
    if not is_reasonable(final):
        return Verdict.TOO_LARGE
    right, said = math_answers.number(expected), math_answers.number(final)
    if right is not None and said is not None:
        if right == said:
            return Verdict.EQUAL
        if right.denominator == said.denominator == 1:
            return Verdict.DIFFERENT
    return _asked(row, expected, math_answers.boxed(final))


def _anywhere(row: Answered, expected: str, text: str) -> Verdict:
    """Whether the last answer in a text is right; of a long text its end is read."""
    end = text[-LONGEST:]
    sort = math_answers.sort_of(expected)
    if not end:
        return Verdict.UNREAD
    if sort is Sort.LETTER:
        return _same(math_answers.letter(expected), math_answers.letter_anywhere(end))
    if sort is Sort.WORDS:
        return _same(math_answers.words(expected), math_answers.words_anywhere(end))
    return _asked(row, expected, end)


def _same(right: str | None, said: str | None) -> Verdict:
    if not said:
        return Verdict.UNREAD
    return Verdict.EQUAL if said == right else Verdict.DIFFERENT


def _asked(row: Answered, expected: str, said: str) -> Verdict:
    verdict = compare(math_answers.boxed(expected), said)
    if verdict is Verdict.EXPECTED_UNREAD:
        raise InputError(
            f"row {row.key}: the expected answer {expected[:80]!r} is nothing that can be compared",
            hint="write a number, LaTeX, a letter from A to E, or words",
        )
    return verdict
