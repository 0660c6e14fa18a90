r"""Where the final answer of a mathematical text stands, and of which sort it is.

Where it is asked for: in the last `\boxed{…}` (MATH, Hendrycks et al. 2021) or after the last
`####` (GSM8K, Cobbe et al. 2021). Anywhere: a letter or words as described below; numbers and
expressions are found by math-verify. What stands before the end of a thought (`</think>`) is none.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction

from orchestrator.evaluation.math_latex import typed
from orchestrator.evaluation.math_words import spelled

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(\{|[A-Za-z0-9])")
_COMMAND = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_NESTED = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_BRACE = re.compile(r"(?<!\\)[{}]")
_HASHES = "####"
_THOUGHT, _THOUGHT_END = "<think>", "</think>"
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_LETTER = re.compile(
    r"\(?([A-Ea-e])\s?\)(?:.*)|\(?([A-E])(?:[.:]+(?:\s.*)?)?|([a-e])[.:]?", re.DOTALL
)
_WORDS = re.compile(r"(?=.*[^\W\d_]{3})[^\W\d_]+(?:(?:[ '\u2019-]|\s*[,;/]\s*)[^\W\d_]+)*")
#: What parts the words of a list.
_PARTED = re.compile(r"\s*[,;/]\s*(?:and\s+)?|\s+and\s+")
#: Words that stand for a number or a function.
_NAMES = re.compile(r"(?:pi|infinity|infty|sqrt|sin|cos|tan|log|exp)\b", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")
#: Behind a space: words, or letters through letters (`apples`, `square feet`, `km/h`, `m^2`).
_UNIT = re.compile(
    r"(?<=\d) +(?!(?:pi|ln|log|sin|cos|tan|exp|sqrt|and|or|to|e[+-]?)\b)"
    r"[^\W\d_]{2,}(?:\^?\{?[23]\}?)?(?:(?: |/| per )[^\W\d_]+(?:\^?\{?[23]\}?)?)*\.?"
    r"|(?<=\d) +[^\W\d_]/[^\W\d_]+(?:\^?\{?[23]\}?)?"
)
_SAID = re.compile(r"(?:answer|option|choice)\b(?:\s+is|\s*[:=])*\s*", re.IGNORECASE)
_OPENED = re.compile(r"[*_$\\({\[]*\s*")
_SAID_LETTER = re.compile(r"([A-E])(?!\w)|([b-e])(?!\w)|(a)(?=\s?[).,]|[*_$}\]\s]*$)", re.M)
_LETTER_MARKED = re.compile(
    r"\(([A-E])\)|(?<!\w)\(([a-e])\)|(?<!\w)([A-E])\)|(?<!\w)([A-E])(?=[.:,]?\s*$)", re.M
)
_LETTER_ALONE = re.compile(r"(?<![\w'\u2019])([B-E])(?![\w'\u2019])")


class Sort(Enum):
    """What an expected answer is, and so how it is compared."""

    LETTER = "letter"
    WORDS = "words"
    EXPRESSION = "expression"


def sort_of(answer: str) -> Sort:
    """Of which sort an expected answer is: one of A to E, words, or anything to calculate with."""
    if re.fullmatch(r"\(?(?:[A-E]|[a-e](?=\s?\)))\s?\)?\.?", plain(answer)):
        return Sort.LETTER
    words = plain(answer)
    if spelled(words) is not None:
        return Sort.EXPRESSION
    if words.casefold() == "no":  # of two letters it would be n times o, as `on` is
        return Sort.WORDS
    if "\\" not in words and _WORDS.fullmatch(words) and not _NAMES.match(words):
        return Sort.WORDS
    return Sort.EXPRESSION


def after_thought(text: str) -> str:
    """What was said once the thought had ended, in the typography of plain text.

    Of a thought that never ends it is what stands before it.
    """
    _, ended, after = text.rpartition(_THOUGHT_END)
    return typed(after if ended else text.partition(_THOUGHT)[0]).strip()


def final_answer(text: str) -> str | None:
    r"""What stands where an answer is asked for; None where nothing does.

    The later of the last `\boxed{…}` and the last `####` (to the end of its line) counts.
    """
    hashes = text.rfind(_HASHES)
    start, inside = _last_box(text)
    if start > hashes:
        return _NESTED.sub("", inside) or None
    if hashes < 0:
        return None
    line = text[hashes + len(_HASHES) :].lstrip(" \t#")
    return line.split("\n", 1)[0].strip() or None


def _last_box(text: str) -> tuple[int, str]:
    """Where the last box begins that is in no other, and what it holds (empty: it never closes)."""
    start, inside, end = -1, "", 0
    for box in _COMMAND.finditer(text):
        if box.start() < end:
            continue
        start = box.start()
        inside, end = _in_braces(text, start)
    return start, inside


def _in_braces(text: str, start: int) -> tuple[str, int]:
    """What the braces after a command hold, and where they end."""
    opened = _BOXED.match(text, start)
    if opened is None:
        return "", start
    if opened[1] != "{":
        return opened[1], opened.end()
    depth = 0
    for brace in _BRACE.finditer(text, opened.end() - 1):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[opened.end() : brace.start()].strip(), brace.end()
    return "", len(text)


def plain(answer: str) -> str:
    r"""An answer without dollar signs around it, `\text{…}`, emphasis and a full stop."""
    answer = _TEXT.sub(r"\1", answer.strip())
    return answer.strip(" \t\r\n$*_").removesuffix(".").strip()


def letter(answer: str) -> str | None:
    """The letter that a final answer is: `B`, `(B)`, `b )`, `B) 42`, `E)125`; None if none."""
    found = _LETTER.fullmatch(plain(answer))
    return (found[1] or found[2] or found[3]).upper() if found else None


def letter_marked(text: str) -> str | None:
    """The letter that a text says it ends up with.

    The last that follows "answer", "option" or "choice"; else the last in brackets or at the end
    of a line.
    """
    for place in reversed([one.end() for one in _SAID.finditer(text)]):
        opened = _OPENED.match(text, place)
        said = _SAID_LETTER.match(text, opened.end() if opened else place)
        if said:
            return (said[1] or said[2] or said[3]).upper()
    marked = [next(filter(None, one.groups())) for one in _LETTER_MARKED.finditer(text)]
    return marked[-1].upper() if marked else None


def letter_alone(text: str) -> str | None:
    """The last letter that stands alone in a text, A excepted, which is a word."""
    alone = _LETTER_ALONE.findall(text)
    return alone[-1] if alone else None


def words(answer: str) -> str:
    """An answer in words as it is compared: no case, no emphasis, single spaces, no full stop.

    A list's words are parted by commas, whatever parted them; their order counts, as it does for
    math-verify and for the checker of MATH.
    """
    return " ".join(_PARTED.sub(", ", plain(answer).casefold()).split())


def words_anywhere(text: str) -> str:
    """What a text ends with, as words are compared."""
    return words(tail(text).strip("$*_\\()[]{} "))


def tail(text: str) -> str:
    """What follows the last "answer is" in its line, or the last line."""
    places = [one.end() for one in _SAID.finditer(text)]
    rest = text[places[-1] :] if places else text.strip().rpartition("\n")[2]
    return rest.strip().partition("\n")[0]


def number(answer: str) -> Fraction | None:
    """The number that an answer plainly is (`1,234.5`, `-3/4`, `$72`, `72 km/h`, `twelve`)."""
    digits = plain(answer).lstrip("$€£\\ ").rstrip("$ ")
    in_words = spelled(digits)
    if in_words is not None:
        return Fraction(in_words)
    digits = digits[: -len(unit[0])] if (unit := _unit(digits)) else digits
    if not _NUMBER.fullmatch(digits) or len(digits) > 1000:
        return None
    above, _, below = digits.replace(",", "").partition("/")
    return Fraction(above) / int(below or 1) if int(below or 1) else None


def is_sentence(answer: str) -> bool:
    """Whether an answer has words beside its mathematics."""
    return bool(re.search(r"[^\W\d_]{3}", re.sub(r"\\[A-Za-z]+", " ", plain(answer))))


def has_brackets(answer: str) -> bool:
    r"""Whether an answer is a point, an interval or a set: `(1, 2]`, `\{1, 2\}`."""
    return plain(answer).replace("\\left", "").lstrip("\\").startswith(("(", "[", "{"))


def last_brackets(text: str) -> str | None:
    """What a text has from its first opening bracket to its last closing one."""
    found = re.search(r"(?:\\left)?\\?[\[({].*[\])}]", text)
    return found[0] if found else None


def _unit(answer: str) -> re.Match[str] | None:
    """The unit that an answer ends with, where all before it may be a number."""
    unit = _UNIT.search(answer)
    return unit if unit is not None and unit.end() == len(answer) else None
