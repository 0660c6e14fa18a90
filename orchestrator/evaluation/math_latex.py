r"""Answers as the LaTeX that math-verify reads whole, whatever typography they are written in."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

#: Minus sign, no-break, thin and narrow no-break spaces, fraction slash.
_PLAIN = str.maketrans({"\u2212": "-", **dict.fromkeys("\u00a0\u2009\u202f", " "), "\u2044": "/"})
#: No-break and thin spaces between digits part thousands, whatever stands around them.
_THIN_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
#: Spaces that part thousands: `1 000`, `1\\,000`, `1{,}000`.
_THOUSANDS = re.compile(r"(?<=\d)(?: |\\[,;: !]|\{,\})(?=\d{3}(?!\d))")
#: A digit before a fraction that is one character: `2½`.
_PART = re.compile("(\\d?)\\s?([\u00bc-\u00be\u2150-\u215e])")
#: `2 1/2` is one number where 1/2 is less than one.
_MIXED = re.compile(r"(?<![\d./,^])(-?\d+) (\d+)/(\d+)(?![\d/])")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,2})(?!\w)")
_SIGNS = {
    "∞": r"\infty ",
    "\u222a": r"\cup ",  # written so as not to be taken for a U
    "∩": r"\cap ",
    "∅": r"\emptyset ",
    "∈": r"\in ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": r"\div ",
    "π": r"\pi ",
    "°": r"^\circ ",
    "²": "^2",
    "³": "^3",
}
_SIGN = re.compile("|".join(_SIGNS))
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]))")
_INFINITE = re.compile(r"(?<![\\\w])(?:inf|infty|infinity|oo)(?!\w)", re.IGNORECASE)
_UNION = re.compile(r"(?<=[)\]])\s*(?:U|union)\s*(?=[(\[])")
_MEMBER = re.compile(r"[A-Za-z]\s*\\in\s+(?=[(\[\\])")
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))


def typed(text: str) -> str:
    """A text in plain typography: minus, spaces, fractions; powers of ten and mixed numbers too."""
    text = _PART.sub(_part, _THIN_THOUSANDS.sub("", text)).translate(_PLAIN)
    return _SCIENTIFIC.sub(_written_out, text)


def as_fractions(text: str) -> str:
    """A text with its mixed numbers as fractions: `2 1/2` as `5/2`."""
    return _MIXED.sub(lambda one: _fraction(one) or one[0], text)


def boxed(answer: str) -> str:
    r"""An answer as the LaTeX that math-verify reads whole: lists, units and percentages too."""
    answer = typed(answer).strip()
    for opening, closing in _DELIMITERS:
        inner = answer.removeprefix(opening).removesuffix(closing)
        if len(inner) == len(answer) - len(opening) - len(closing):
            answer = inner.strip()
            break
    answer = _THOUSANDS.sub("", answer.strip("*_").removesuffix("."))
    answer = _MIXED.sub(lambda one: _latex_fraction(one) or one[0], answer)
    answer = _ROOT.sub(lambda one: rf"\sqrt{{{one[1] or one[2]}}}", answer)
    answer = _SIGN.sub(lambda one: _SIGNS[one[0]], answer)
    answer = _UNION.sub(r" \\cup ", _INFINITE.sub(r"\\infty ", answer))
    answer = _MEMBER.sub("", answer, count=1)
    answer = re.sub(r"(?<!\\)([%$])", r"\\\1", answer).replace("**", "^")
    answer = re.sub(r"(?<![\\\w])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"(?<![\\\w])pi(?!\w)", r"\\pi", answer)
    return f"\\boxed{{{answer}}}"


def _part(found: re.Match[str]) -> str:
    """A fraction of one character as three, a space behind the whole number before it."""
    return f"{found[1]} {_split(found[2])}" if found[1] else _split(found[2])


def _split(fraction: str) -> str:
    return unicodedata.normalize("NFKC", fraction)


def _fraction(mixed: re.Match[str]) -> str:
    whole, above, below = (int(part[:400]) for part in mixed.groups())
    if not above < below:
        return ""
    value = Fraction(above, below)
    sign = "-" if mixed[1].startswith("-") else ""
    value += abs(whole)
    return f"{sign}{value.numerator}/{value.denominator}"


def _latex_fraction(mixed: re.Match[str]) -> str:
    above, _, below = _fraction(mixed).partition("/")
    return rf"\frac{{{above}}}{{{below}}}" if below else ""


def _written_out(power: re.Match[str]) -> str:
    """A number with a power of ten, written out."""
    if len(power[1]) > 40:
        return power[0]
    value = Fraction(power[1]) * Fraction(10) ** int(power[2])
    if value.denominator == 1:
        return str(value.numerator)
    places = max(0, len(power[1].partition(".")[2]) - int(power[2]))
    return f"{float(value):.{places}f}" if places <= 15 else power[0]
