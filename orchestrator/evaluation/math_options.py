"""The options of a multiple-choice question, read from its text.

A line each (`A. 12`, `B) 13`, `(C) 14`), as MathBench and MMLU are asked, or all in one line
(`a ) 38 , b ) 27.675`, as MathQA has them; the last list that begins with A counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.evaluation.math_latex import typed

_BY_LINE = re.compile(r"^[ \t]*\(?([A-E])[ \t]?[).:][ \t]*(?=\S)", re.MULTILINE)
_IN_LINE = re.compile(r"(?:(?<=[\s,;\[\"'])|^)\(?([A-Ea-e])[ \t]?\)[ \t]*(?=\S)", re.MULTILINE)
_FORMULA = re.compile(r"(\${1,2})\s*\n.*?\1", re.DOTALL)
_LINE = re.compile(r".*")
#: In one line fewer brackets with a letter are no list.
_FEWEST_IN_LINE = 3
#: Of a longer question only the end is looked at.
_LONGEST = 20_000


def options_in(question: str) -> Mapping[str, str]:
    """The options by letter, A to E; none where a question offers none."""
    text = typed(question[-_LONGEST:])
    by_line = _run(text, _BY_LINE)
    if len(by_line) > 1:
        return {letter: value.strip() for letter, value in by_line.items()}
    in_line = _run(text, _IN_LINE)
    if len(in_line) < _FEWEST_IN_LINE:
        return {}
    return {letter: value.strip(" \t\r\n,;'\"]") for letter, value in in_line.items()}


def _run(text: str, marks: re.Pattern[str]) -> dict[str, str]:
    """What stands behind the last marks that run from A on, to the next; of the last its line.

    A formula on lines of its own belongs to the line that opens it.
    """
    run: list[re.Match[str]] = []
    for mark in marks.finditer(text):
        letter = mark[1].upper()
        if letter == "A":
            run = [mark]
        elif run and ord(letter) == ord(run[-1][1].upper()) + 1:
            run.append(mark)
    found = {}
    for mark, following in zip(run, [*run[1:], None], strict=False):
        if following is not None:
            found[mark[1].upper()] = text[mark.end() : following.start()]
            continue
        line = _FORMULA.match(text, mark.end()) or _LINE.match(text, mark.end())
        found[mark[1].upper()] = line[0] if line else ""
    return found
