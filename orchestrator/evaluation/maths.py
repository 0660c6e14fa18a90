r"""Scores final answers of mathematics, where they are asked for and wherever they stand.

Numbers and expressions are equal where math-verify 0.9 (Hugging Face) says so: fractions and
decimals of one value (to 6 decimals), `50%` with both 0.5 and 50, units and separators of
thousands without meaning, `x = 5` with 5, numbers in words with those in digits. Lists of numbers
are right in any order, as math-verify has them, lists of words in their own. Letters A to E are
compared as such; where the question shows its options, the value of the right one is right too,
but not strictly. The expected answer is the row's text after its last `####` or in its last
`\boxed{…}`, or all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.errors import InputError
from orchestrator.evaluation import math_answers
from orchestrator.evaluation.math_answers import Sort
from orchestrator.evaluation.math_checking import LONGEST, Verdict, compare, is_reasonable
from orchestrator.evaluation.math_latex import as_fractions, boxed
from orchestrator.evaluation.math_options import options_in
from orchestrator.evaluation.math_words import last_spelled, spelled
from orchestrator.evaluation.scores import Answered, MetricKind, RowScores, yes

_DIGIT = re.compile(r"\d")
_LOWER = ("a", "b", "c", "d", "e")
_EXPRESSION = re.compile(r"[\d\\^=\u221e]")
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
            strict = flexible = _final(expected, final)
            by_value = _is_lower_value(row.prompt, expected, final)
            if by_value or strict is not Verdict.EQUAL:
                right = _by_option(row.prompt, expected, final)
                strict = Verdict.DIFFERENT if by_value else strict
                flexible = Verdict.EQUAL if right else strict
        else:
            strict, flexible = Verdict.UNREAD, _anywhere(row.prompt, expected, said)
        if Verdict.EXPECTED_UNREAD in (strict, flexible):
            raise InputError(
                f"row {row.key}: the expected answer {expected[:80]!r} is nothing that can be"
                " compared",
                hint="write a number, LaTeX, a letter from A to E, or words",
            )
        parts = {
            FLEXIBLE.name: yes(flexible is Verdict.EQUAL),
            STRICT.name: yes(strict is Verdict.EQUAL),
            NO_ANSWER.name: yes(flexible is Verdict.UNREAD),
        }
        causes = _causes(strict, flexible, asked_for=final is not None)
        return RowScores(row.key, parts, row.slices, causes)


def _causes(strict: Verdict, flexible: Verdict, *, asked_for: bool) -> tuple[str, ...]:
    if strict is Verdict.EQUAL:
        return ()
    if flexible is Verdict.EQUAL and asked_for:
        return ("right, but the value for the letter, or the letter for the value",)
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
    plain = math_answers.plain(answer)
    if not plain:
        raise InputError(
            f"row {row.key}: the expected answer is empty",
            hint="give each row the answer that is right: a number, an expression, a letter, words",
        )
    in_words = spelled(plain)
    return answer if in_words is None else str(in_words)


def _final(expected: str, final: str) -> Verdict:
    """Whether an answer that stands by itself is right."""
    sort = math_answers.sort_of(expected)
    if sort is Sort.LETTER:
        return _same(math_answers.letter(expected), math_answers.letter(final))
    if sort is Sort.WORDS:
        return _same(math_answers.words(expected), math_answers.words(final))
    if not is_reasonable(final):
        return Verdict.TOO_LARGE
    right, said = math_answers.number(expected), math_answers.number(final)
    if right is not None and said is None and not _DIGIT.search(final):
        in_words = last_spelled(final)
        said = None if in_words is None else Fraction(in_words)
    if right is not None and said is not None:
        if right == said:
            return Verdict.EQUAL
        if right.denominator == said.denominator == 1:
            return Verdict.DIFFERENT
    return compare(boxed(expected), boxed(final))


def _anywhere(question: str, expected: str, text: str) -> Verdict:
    """Whether the last answer in a text is right; of a long text its end is read."""
    end = text[-LONGEST:]
    if not end:
        return Verdict.UNREAD
    sort, tail = math_answers.sort_of(expected), math_answers.tail(end)
    if sort is Sort.LETTER:
        marked = math_answers.letter_marked(end)
        if marked is None and _by_option(question, expected, tail):
            return Verdict.EQUAL
        said = marked or math_answers.letter_alone(end)
        return _same(math_answers.letter(expected), said)
    if sort is Sort.WORDS:
        same = _same(math_answers.words(expected), math_answers.words_anywhere(end))
    else:
        same = _expression_anywhere(expected, end, tail)
    if same is not Verdict.EQUAL and _by_option(question, expected, tail):
        return Verdict.EQUAL
    return same


def _expression_anywhere(expected: str, end: str, tail: str) -> Verdict:
    """Whether the last number or expression of a text is right; else what its tail says.

    math-verify looks in plain text for numbers alone: intervals, sets and numbers in words are
    found in the tail.
    """
    verdict = compare(boxed(expected), as_fractions(end))
    if verdict in (Verdict.UNREAD, Verdict.DIFFERENT) and math_answers.has_brackets(expected):
        bracketed = math_answers.last_brackets(tail)
        if bracketed and is_reasonable(bracketed):
            return compare(boxed(expected), boxed(bracketed))
    if verdict is not Verdict.UNREAD:
        return verdict
    right, in_words = math_answers.number(expected), last_spelled(tail)
    if right is not None and in_words is not None:
        return Verdict.EQUAL if right == in_words else Verdict.DIFFERENT
    return compare(boxed(expected), boxed(tail)) if _readable(tail) else verdict


def _readable(tail: str) -> bool:
    """Whether a line is worth reading as one expression: it has a digit or a sign of one."""
    return bool(_EXPRESSION.search(tail)) and is_reasonable(tail)


def _by_option(question: str, expected: str, said: str) -> bool:
    """Whether an answer is the value of the right option, or the letter of the right value."""
    options = options_in(question)
    if math_answers.sort_of(expected) is not Sort.LETTER:
        chosen = options.get(math_answers.letter(said) or "")
        return chosen is not None and _is_value(expected, chosen)
    right = options.get(math_answers.letter(expected) or "")
    if right is None:
        return False
    text = math_answers.words(said)
    same = [letter for letter, value in options.items() if math_answers.words(value) == text]
    if same:
        return math_answers.letter(expected) in same
    return math_answers.letter(said) is None and _is_value(right, said)


def _is_lower_value(question: str, expected: str, final: str) -> bool:
    """Whether `a` to `e` alone is the value of an option, and so no letter of one."""
    text = math_answers.plain(final)
    if math_answers.sort_of(expected) is not Sort.LETTER or text not in _LOWER:
        return False
    return text in map(math_answers.plain, options_in(question).values())


def _is_value(value: str, said: str) -> bool:
    """Whether two values are the same, as text or as mathematics; sentences are text alone."""
    if math_answers.words(value) == math_answers.words(said):
        return True
    if not math_answers.plain(value) or not is_reasonable(value):
        return False
    if math_answers.number(value) is None and math_answers.is_sentence(value):
        return False
    return math_answers.sort_of(value) is Sort.EXPRESSION and _final(value, said) is Verdict.EQUAL


def _same(right: str | None, said: str | None) -> Verdict:
    if not said:
        return Verdict.UNREAD
    return Verdict.EQUAL if said == right else Verdict.DIFFERENT
