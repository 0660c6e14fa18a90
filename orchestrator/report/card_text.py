"""Text of a model card: what stands in it is Markdown of ours, or text from outside made harmless.

Names, reasons and notes come from people, data and models. Before they stand in a card, what is
private in them is masked, and what Markdown or HTML would act upon is written so that it only
shows.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NewType

from orchestrator.dataset.privacy.masking import shown
from orchestrator.report.axes import number_text

#: Text that stands in a card as it is: made by the functions below, or written in this package.
Markdown = NewType("Markdown", str)

DASH = Markdown("–")
#: Longer texts are cut: a card is no place for essays, and none of ours are longer.
_LONGEST = 400
_CUT = "…"
_SHORTEST_PRIVATE = 3
#: What stands in the place of what is masked.
MASKS = ("[PRIVATE]", "[PLACE]", "[EMAIL]", "[PHONE]", "[SECRET]")

#: Places that mean something only to those who own them: addresses, paths, hosts, cloud resources.
_PLACES = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]{1,20}://\S+                       # https://…, gs://…
    | \b(?:file|mailto|data|javascript):\S+
    | \bwww\.\S+
    | (?<![\w/.])(?:~[\w.-]*|\.{1,2})?/(?:[^\s/]+/)+\S*    # /home/me/x, ~me/x/y, ./a/b
    | (?<!\w)~[\w.-]*/\S+                                  # ~/x
    | \b[a-z]:[\\/]\S+ | \\\\\S+                           # C:\x, \\host\share
    | \bprojects/\S+
    | (?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])(?::\d+)?
    | \[?\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]+\b\]?          # IPv6
    | (?<![\w:])(?=[a-f:]*\d)(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}(?![\w:])
    | \barn:[\w-]+:\S+
    | \$\{?[a-z_]\w*\}?/\S+ | %\w+%[\\/]\S+                # $HOME/x, %USERPROFILE%\x
    | \b(?:[\w-]+\.)+(?:internal|local|localdomain|lan|corp|intranet|home)\b(?::\d+)?
    | \blocalhost(?::\d+)?\b
    | (?<![\w.])\d{9,}(?![\w.])                            # numbers of projects and accounts
    """,
    re.VERBOSE | re.IGNORECASE,
)
#: Keys that the search of rows does not know by their form, or only by the word before them.
_KEYS = re.compile(
    r"""
      \b(?:github_pat_|wandb_v\d_)\w{16,}
    | \bbearer\s+[\w.~+/=-]{12,}
    | \b(?:password|passwd|pwd|secret|account_?key)\s*[=:]\s*\S{4,}
    | \b(?:token|api[ _-]?key|access[ _-]?key)\s*[=:]\s*(?=\S*\d)\S{8,}
    """,
    re.VERBOSE | re.IGNORECASE,
)
#: Any name at any host; `owner/model@revision` and `rubric@1` are none.
_MAILBOX = re.compile(r"(?<![\w/.+%-])[\w.+%-]+@[^\W\d_][\w.-]*")
_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "|": "&#124;", "`": "&#96;"}
    | {"$": "&#36;", "*": "&#42;", "~": "&#126;", "{": "&#123;", "}": "&#125;"}
    # With what a card writes around it, `[x]` could begin a definition of a link.
    | {"[": "&#91;", "]": "&#93;"}
)
#: An underscore inside a word is one; elsewhere it may begin or end emphasis.
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
#: What a code span shows as it is, in a table too.
_PLAIN = re.compile(r"[\w./@:+()%,=-](?:[\w./@:+()%,= \[\]-]*[\w./@:+()%,=\]-])?")


class Mask:
    """Masks what is private in a text: in any text, and of one run."""

    def __init__(self, private: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        """`private` are names of the run that nobody else needs; what `public` holds stays."""
        open_ones = {value.lower() for value in public}
        wanted = {value.strip() for value in private}
        hidden = {
            value
            for value in wanted
            if len(value) >= _SHORTEST_PRIVATE and value.lower() not in open_ones
        }
        longest_first = sorted(hidden, key=lambda value: (-len(value), value))
        words = "|".join(map(re.escape, longest_first))
        self._known = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None

    def __call__(self, text: object) -> str:
        """The text on one line, shown by any program as it is; still to be escaped for a card."""
        clean = _one_line(str(text))
        if self._known is not None:
            clean = self._known.sub("[PRIVATE]", clean)
        # Tokens first: a place may be cut out of the middle of one.
        clean = _KEYS.sub("[SECRET]", shown(clean))
        clean = _PLACES.sub("[PLACE]", clean)
        clean = _MAILBOX.sub("[EMAIL]", clean)
        return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1].rstrip() + _CUT


def _one_line(text: str) -> str:
    """The text without control, direction and half characters, its white space as single spaces."""
    kept = []
    for char in text:
        kind = unicodedata.category(char)
        if char.isspace() or kind in ("Zl", "Zp"):
            kept.append(" ")
        elif not kind.startswith("C"):
            kept.append(char)
    return " ".join("".join(kept).split())


def own(text: str) -> Markdown:
    """Text of this package, which may use Markdown."""
    return Markdown(text)


def escaped(text: str) -> Markdown:
    """Masked text from outside, shown letter for letter."""
    return Markdown(_EMPHASIS.sub("&#95;", text.translate(_ENTITIES)))


def code(text: str) -> Markdown:
    """Masked text from outside as a code span, or escaped if a span could not hold it."""
    return Markdown(f"`{text}`") if _PLAIN.fullmatch(text) else escaped(text)


def number(value: float | None) -> Markdown:
    """A measured value; a dash for none."""
    return DASH if value is None or not math.isfinite(value) else own(number_text(value))


def interval(value: float | None, low: float | None, high: float | None) -> Markdown:
    """A value with its interval: `0.875 [0.739, 0.945]`; the value alone without one."""
    ends = [end for end in (low, high) if end is not None and math.isfinite(end)]
    if number(value) is DASH or len(ends) < 2:
        return number(value)
    return own(f"{number(value)} [{number_text(ends[0])}, {number_text(ends[1])}]")


def signed_interval(value: float, low: float, high: float) -> Markdown:
    """A difference with its interval, each with its sign."""
    if not all(map(math.isfinite, (value, low, high))):
        return DASH
    return own(f"{value:+.3f} [{low:+.3f}, {high:+.3f}]")


def count(value: int | None) -> Markdown:
    """A number of things; a dash where it is not known."""
    return DASH if value is None else own(f"{value:,}")


def table(header: Sequence[str], rows: Iterable[Sequence[Markdown]]) -> list[str]:
    """A table with a header of ours, and an empty line after it."""
    lines = [tuple(header), tuple("---" for _ in header), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]
