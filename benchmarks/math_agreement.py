"""How the scorer `math` agrees with math-verify, asked directly, on rows of mathematics.

python benchmarks/math_agreement.py ROWS [--json FILE]

ROWS is JSONL with the right answer in `answer` and the question in `body.messages`. Every answer is
said in the forms that models use, rightly and with another row's answer; math-verify is given the
expected answer and the text as they are (letters with its own extraction of strings). Questions
that show their options are answered by the value of an option too, which math-verify cannot know.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.evaluation.maths import FLEXIBLE, STRICT, MathScorer
from orchestrator.evaluation.scores import Answered

LETTERS = "ABCDE"
FORMS = (
    *("{}", "The answer is {}.", "#### {}", r"\boxed{{{}}}", r"So $\boxed{{{}}}$."),
    *("**{}**", "Therefore x = {}", "The final answer is ${}$. I hope it is correct."),
)
LETTER_FORMS = ("The answer is {}.", "{}", "Answer: {}", "So {}", "#### {}")
SEED = 0


@dataclass(frozen=True)
class Verdict:
    """What both said of one answer. `theirs` is None where math-verify is not asked."""

    kind: str
    form: str
    expected: str
    said: str
    flexible: bool
    strict: bool
    theirs: bool | None


def main() -> int:
    """Print the table and, with --json, write the counts and the disagreements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()
    verdicts = list(compare([json.loads(line) for line in lines]))
    counts: dict[str, Counter[str]] = {}
    for one in verdicts:
        counts.setdefault(one.kind, Counter()).update(_sides(one))
    print(f"{'answers':<26} {'all':>6} {'agree':>6} {'theirs':>7} {'ours':>6} {'strict':>7}")
    for kind, row in counts.items():
        cells = [row[name] for name in ("all", "agree", "theirs", "ours", "strict")]
        print(
            f"{kind:<26} "
            + " ".join(f"{n:>{w}}" for n, w in zip(cells, (6, 6, 7, 6, 7), strict=True))
        )
    if arguments.json is not None:
        apart = [vars(one) for one in verdicts if one.theirs not in (None, one.flexible)]
        arguments.json.write_text(
            json.dumps({"counts": counts, "disagreements": apart}, indent=2), encoding="utf-8"
        )
    return 0


def _sides(one: Verdict) -> Iterator[str]:
    """The columns that a verdict counts for; `ours` alone where math-verify is not asked."""
    yield "all"
    if one.theirs is None:
        side = "ours" if one.flexible else ""
    else:
        side = "agree" if one.theirs == one.flexible else "theirs" if one.theirs else "ours"
    if side:
        yield side
    if one.strict:
        yield "strict"


def compare(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Both verdicts on answers to all rows."""
    draw = random.Random(SEED)  # noqa: S311 (repeatable, no secret)
    reference = importlib.import_module("math_verify")  # it has no types
    strings = [reference.StringExtractionConfig(strings=tuple(LETTERS))]
    numbers = [row["answer"] for row in rows if row["answer"] not in LETTERS]
    for row in rows:
        expected, question = row["answer"], row["body"]["messages"][-1]["content"]
        if expected in LETTERS:
            other = draw.choice([one for one in "ABCD" if one != expected])
            form = draw.choice(LETTER_FORMS)
            yield from _both(reference, "letter", form, expected, expected, question, strings)
            yield from _both(reference, "other letter", form, expected, other, question, strings)
            yield from _by_value(expected, other, question)
            continue
        form = draw.choice(FORMS)
        yield from _both(reference, "number", form, expected, expected, question, None)
        wrong = draw.choice(numbers)
        kind = "number" if wrong == expected else "other number"
        yield from _both(reference, kind, form, expected, wrong, question, None)


def _both(
    reference: Any,
    kind: str,
    form: str,
    expected: str,
    answer: str,
    question: str,
    extraction: Any,
) -> Iterator[Verdict]:
    said = form.format(answer)
    more = () if extraction is None else (extraction,)
    theirs = reference.verify(reference.parse(expected, *more), reference.parse(said, *more))
    yield _verdict(kind, form, expected, said, question, theirs=bool(theirs))


def _by_value(expected: str, other: str, question: str) -> Iterator[Verdict]:
    """Answers by the value of the right option, and by that of another."""
    options: dict[str, str] = {}
    for line in question.partition("Options:")[2].splitlines():
        if line[1:3] == ". " and line[0] in LETTERS:
            options[line[0]] = line[3:].strip()
    if not all(options.values()) or len({*options.values()}) < len(options):
        return  # formulas on lines of their own, or two options that are one
    if any(one.count("$") % 2 or one == "$$" for one in options.values()):
        return
    for kind, letter in (("value of the option", expected), ("value of another", other)):
        if letter in options:
            said = f"#### {options[letter]}"
            yield _verdict(kind, "#### {}", expected, said, question, theirs=None)


def _verdict(
    kind: str, form: str, expected: str, said: str, question: str, *, theirs: bool | None
) -> Verdict:
    parts = MathScorer().score(Answered("row", expected, said, question)).parts
    flexible, strict = (parts[name].above == 1 for name in (FLEXIBLE.name, STRICT.name))
    return Verdict(kind, form, expected, said, flexible, strict, theirs)


if __name__ == "__main__":
    sys.exit(main())
