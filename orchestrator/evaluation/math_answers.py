r"""Where the final answer of a mathematical text stands, and of which sort it is.

Where it is asked for: in the last `\boxed{…}` (MATH, Hendrycks et al. 2021) or after the last
`####` (GSM8K, Cobbe et al. 2021). Anywhere: a letter or words as described below; numbers and
expressions are found by math-verify. What stands before the end of a thought (`</think>`) is none.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(\{|[A-Za-z0-9])")
_HASHES = "####"
_THOUGHT = "</think>"
#: Minus sign, no-break, thin and narrow no-break spaces, fraction slash.
_TYPOGRAPHY = str.maketrans(
    {"\u2212": "-", **dict.fromkeys("\u00a0\u2009\u202f", " "), "\u2044": "/"}
)
#: Spaces that part thousands: `1 000`, `1\\,000`, `1{,}000`.
_THOUSANDS = re.compile(r"(?<=\d)(?: |\\[,;: !]|\{,\})(?=\d{3}(?!\d))")
_MIXED = re.compile(r"(-?\d+) (\d+)/(\d+)")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_LETTER = re.compile(r"\(?([A-E])(?:[).:]+(?:\s.*)?)?", re.DOTALL)
_WORDS = re.compile(r"(?=.*[^\W\d_]{3})[^\W\d_]+(?:[ '\u2019-][^\W\d_]+)*")
#: Words that stand for a number or a function.
_NAMES = re.compile(r"(?:pi|infinity|infty|sqrt|sin|cos|tan|log|exp)\b", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")
_SAID = re.compile(r"(?:answer|option|choice)\b(?:\s+is|\s*[:=])*\s*[*_$\\({\[]*\s*", re.IGNORECASE)
_LETTER_MARKED = re.compile(r"\(([A-E])\)|(?<!\w)([A-E])\)|(?<!\w)([A-E])(?=[.:,]?\s*$)", re.M)
_LETTER_ALONE = re.compile(r"(?<![\w'\u2019])([B-E])(?![\w'\u2019])")


class Sort(Enum):
    """What an expected answer is, and so how it is compared."""

    LETTER = "letter"
    WORDS = "words"
    EXPRESSION = "expression"


def sort_of(answer: str) -> Sort:
    """Of which sort an expected answer is: one of A to E, words, or anything to calculate with."""
    if re.fullmatch(r"\(?[A-E]\)?\.?", plain(answer)):
        return Sort.LETTER
    words = plain(answer)
    if "\\" not in words and _WORDS.fullmatch(words) and not _NAMES.match(words):
        return Sort.WORDS
    return Sort.EXPRESSION


def after_thought(text: str) -> str:
    """What was said once the thought had ended, with the minus and the spaces of plain text."""
    return text.rpartition(_THOUGHT)[2].translate(_TYPOGRAPHY).strip()


def final_answer(text: str) -> str | None:
    r"""What stands where an answer is asked for; None where nothing does.

    The later of the last `\boxed{…}` and the last `####` (to the end of its line) counts.
    """
    hashes = text.rfind(_HASHES)
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start > hashes:
        return _in_braces(text, start) or None
    if hashes < 0:
        return None
    line = text[hashes + len(_HASHES) :].lstrip(" \t#")
    return line.split("\n", 1)[0].strip() or None


def _in_braces(text: str, start: int) -> str:
    """What the braces after a command hold; empty where they never close."""
    opened = _BOXED.match(text, start)
    if opened is None:
        return ""
    if opened[1] != "{":
        return opened[1]
    depth = 0
    for at in range(opened.end() - 1, len(text)):
        if text[at] in "{}" and text[at - 1] != "\\":
            depth += 1 if text[at] == "{" else -1
            if depth == 0:
                return text[opened.end() : at].strip()
    return ""


def plain(answer: str) -> str:
    r"""An answer without dollar signs around it, `\text{…}`, emphasis and a full stop."""
    answer = _TEXT.sub(r"\1", answer.strip())
    return answer.strip(" \t\r\n$*_").removesuffix(".").strip()


def letter(answer: str) -> str | None:
    """The letter that a final answer is: `B`, `(B)`, `B.`, `B) 42`; None if it is none."""
    found = _LETTER.fullmatch(plain(answer))
    return found[1] if found else None


def letter_anywhere(text: str) -> str | None:
    """The letter that a text ends up with.

    The last that follows "answer", "option" or "choice"; else the last in brackets or at the end
    of a line; else the last that stands alone, A excepted, which is a word.
    """
    for place in reversed([one.end() for one in _SAID.finditer(text)]):
        said = re.match(r"([A-E])(?!\w)", text[place : place + 2])
        if said:
            return said[1]
    marked = [one[1] or one[2] or one[3] for one in _LETTER_MARKED.finditer(text)]
    alone = marked or _LETTER_ALONE.findall(text)
    return alone[-1] if alone else None


def words(answer: str) -> str:
    """An answer in words as it is compared: no case, no emphasis, single spaces, no full stop."""
    return " ".join(plain(answer).casefold().split())


def words_anywhere(text: str) -> str:
    """What follows the last "answer is" in its line, or the last line, as it is compared."""
    places = [one.end() for one in _SAID.finditer(text)]
    rest = text[places[-1] :] if places else text.strip().rpartition("\n")[2]
    return words(rest.strip().partition("\n")[0].strip("$*_\\()[]{} "))


def number(answer: str) -> Fraction | None:
    """The number that an answer plainly is (`1,234.5`, `-3/4`, `$72`); None for all else."""
    digits = plain(answer).lstrip("$€£\\ ").rstrip("$ ")
    if not _NUMBER.fullmatch(digits) or len(digits) > 1000:
        return None
    above, _, below = digits.replace(",", "").partition("/")
    return Fraction(above) / int(below or 1) if int(below or 1) else None


def boxed(answer: str) -> str:
    r"""An answer as the LaTeX that math-verify reads whole: lists, units and percentages too."""
    answer = answer.strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = answer.removeprefix(opening).removesuffix(closing)
        if len(inner) == len(answer) - len(opening) - len(closing):
            answer = inner.strip()
            break
    answer = _THOUSANDS.sub("", answer.strip("*_").removesuffix("."))
    answer = _MIXED.sub(r"\1\\frac{\2}{\3}", answer, count=1)
    answer = re.sub(r"(?<!\\)([%$])", r"\\\1", answer).replace("**", "^")
    answer = re.sub(r"(?<![\\\w])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"(?<![\\\w])pi(?!\w)", r"\\pi", answer)
    return f"\\boxed{{{answer}}}"
