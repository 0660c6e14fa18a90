r"""How rows of mathematics and programming become questions, a function a suite.

What the columns hold is written at each; the sources are in `suites.toml`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from orchestrator.evaluation.math_answers import final_answer
from orchestrator.evaluation.math_options import options_in
from orchestrator.suites.suite_rows import (
    SuiteRow,
    WrongRow,
    asked,
    list_of,
    number_of,
    said,
    text_of,
    word_of,
)

#: Makes a question of a row; the number is that of the row in its file, the text what is asked for.
Mapper = Callable[[Mapping[str, Any], int, str], SuiteRow]

_CALCULATED = re.compile(r"<<[^<>]*>>")
_LETTERS = "ABCDE"
_MARK = re.compile(r"^\s*\(?([A-Ea-e])\s*[).:]\s*")


def _slices(**found: str | None) -> dict[str, str]:
    return {name: value for name, value in found.items() if value}


def gsm8k(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """`answer` is the reasoning, with sums between `<<` and `>>`, and the number after `####`."""
    solution = text_of(row, "answer")
    reasoning, hashes, _ = solution.rpartition("####")
    expected = final_answer(solution)
    if not hashes or not expected:
        raise WrongRow("`answer` has no number after `####`")
    reasoning = _CALCULATED.sub("", reasoning).strip()
    return SuiteRow(
        f"gsm8k-{number}",
        asked(text_of(row, "question"), ask),
        said(f"{reasoning}\n\\boxed{{{expected}}}"),
        expected,
    )


def math(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    r"""`solution` holds the answer in its last `\boxed{}`; MATH-500 has it in `answer` too."""
    solution = text_of(row, "solution")
    expected = word_of(row, "answer") or final_answer(solution)
    if not expected:
        raise WrongRow("`solution` has no \\boxed{} with the answer")
    level = word_of(row, "level")
    level = f"Level {level}" if level and level.isdigit() else level
    subject = word_of(row, "type") or word_of(row, "subject")
    return SuiteRow(
        word_of(row, "unique_id") or f"math-{number}",
        asked(text_of(row, "problem"), ask),
        said(solution),
        expected,
        _slices(level=level, subject=subject),
    )


def svamp(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """`Body` tells the story, `Question` asks; `Answer` is a number, `Type` the operation."""
    body, question = text_of(row, "Body").strip(), text_of(row, "Question").strip()
    expected = number_of(row, "Answer")
    return SuiteRow(
        word_of(row, "ID") or f"svamp-{number}",
        asked(f"{body}{'' if body[-1] in '.,;:?!' else ','} {question}", ask),
        said(f"\\boxed{{{expected}}}"),
        expected,
        _slices(type=word_of(row, "Type")),
    )


def mawps(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """Calc-X: `result` is a number as text, `result_float` the same as a number."""
    expected = number_of(row, "result_float" if row.get("result_float") is not None else "result")
    return SuiteRow(
        word_of(row, "id") or f"mawps-{number}",
        asked(text_of(row, "question"), ask),
        said(f"\\boxed{{{expected}}}"),
        expected,
    )


def mawps_original(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """`lSolutions` is a list with the one number that is right."""
    solutions = list_of(row, "lSolutions")
    if len(solutions) != 1:
        raise WrongRow("`lSolutions` does not hold one number")
    expected = number_of({"lSolutions": solutions[0]}, "lSolutions")
    return SuiteRow(
        f"mawps-{word_of(row, 'iIndex') or number}",
        asked(text_of(row, "sQuestion"), ask),
        said(f"\\boxed{{{expected}}}"),
        expected,
    )


def mathqa(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """`options` is one text: `a ) 38 , b ) 27.675 , …`; `correct` is the letter."""
    options = options_in(text_of(row, "options"))
    if not options:
        raise WrongRow("`options` is no list of the form `a ) … , b ) … , c ) …`")
    slices = _slices(category=word_of(row, "category"))
    return _choice(row, f"mathqa-{number}", text_of(row, "Problem"), options, ask, slices)


def aqua(row: Mapping[str, Any], number: int, ask: str) -> SuiteRow:
    """`options` is a list of texts: `A)125`; `correct` is the letter."""
    options = {}
    for option in list_of(row, "options"):
        mark = _MARK.match(option) if isinstance(option, str) else None
        if mark is None:
            raise WrongRow(f"`options` holds {str(option)[:40]!r}, which has no letter")
        options[mark[1].upper()] = option[mark.end() :].strip()
    return _choice(row, f"aqua-{number}", text_of(row, "question"), options, ask, {})


def _choice(
    row: Mapping[str, Any],
    name: str,
    question: str,
    options: Mapping[str, str],
    ask: str,
    slices: Mapping[str, str],
) -> SuiteRow:
    correct = text_of(row, "correct").strip().upper()
    if correct not in options or len(correct) != 1:
        raise WrongRow(f"`correct` is {correct[:20]!r}, which is none of the options")
    listed = "\n".join(f"{letter}) {value}" for letter, value in options.items())
    return SuiteRow(
        name,
        asked(f"{question.strip()}\n\n{listed}", ask),
        said(f"\\boxed{{{correct}}}"),
        correct,
        slices,
    )


def humaneval(row: Mapping[str, Any], _number: int, ask: str) -> SuiteRow:
    """`prompt` begins a function, `canonical_solution` ends it, `test` has `check(candidate)`."""
    given, name = text_of(row, "prompt"), text_of(row, "entry_point")
    solution = text_of(row, "canonical_solution")
    expected = {"prompt": given, "test": text_of(row, "test"), "entry_point": name}
    question = f"```python\n{given.rstrip()}\n```"
    return SuiteRow(
        text_of(row, "task_id"),
        asked(f"{ask}\n\n{question}" if ask else given, ""),
        said(f"```python\n{given}{solution.rstrip()}\n```"),
        json.dumps(expected, ensure_ascii=False),
    )


MAPPERS: Mapping[str, Mapper] = MappingProxyType(
    {
        "gsm8k": gsm8k,
        "math": math,
        "math-500": math,
        "svamp": svamp,
        "mawps": mawps,
        "mawps-original": mawps_original,
        "mathqa": mathqa,
        "aqua": aqua,
        "humaneval": humaneval,
    }
)
