"""What differs between two texts, word by word; JSON is compared by what it says.

White space is no difference. Where a text is JSON, it is laid out first (a value a line, keys in
the order of what is expected), so that the order of keys is none either.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

#: `same`; `missing`: only in what is expected; `extra`: only in what was said.
Kind = Literal["same", "missing", "extra"]
#: Words, numbers and every other character by itself, each with the white space before it.
_TOKENS = re.compile(r"\s*(?:\w+|[^\w\s])")
#: White space that must not be marked: it begins a stretch, or a line within it.
_UNMARKED = re.compile(r"(^\s+|\s*\n\s*)")
#: Texts that have less in common are not worth comparing word by word.
LEAST_ALIKE = 0.3
#: Longer texts are cut, and say so: a page is for reading.
LONGEST = 4000
#: JSON deeper than this is compared as text.
_DEEPEST = 40


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is the same, missing or extra."""

    kind: Kind
    text: str


def laid_out(expected: str, said: str) -> tuple[str, str]:
    """Both texts as they are compared: as they are, or as JSON that is laid out alike; cut."""
    expected, said = _alike(expected, said)
    return cut(expected), cut(said)


def say_the_same(expected: str, said: str) -> bool:
    """Whether nothing differs, also behind what is cut."""
    wanted, given = map(_TOKENS.findall, _alike(expected, said))
    return [one.strip() for one in wanted] == [one.strip() for one in given]


def _alike(expected: str, said: str) -> tuple[str, str]:
    wanted, after_wanted = _json(expected)
    given, after_given = _json(said)
    if wanted is not None:
        expected = _lines(wanted) + after_wanted
        if given is not None:
            said = _lines(_ordered_like(given, wanted)) + after_given
    return expected, said


def differences(expected: str, said: str) -> tuple[Piece, ...]:
    """The text that was said as pieces, with what it lacks of the expected one in its place.

    A text that has little in common with the expected one is extra as a whole.
    """
    wanted, given = _TOKENS.findall(expected), _TOKENS.findall(said)
    matcher = difflib.SequenceMatcher(
        None,
        [token.strip() for token in wanted],
        [token.strip() for token in given],
        autojunk=False,
    )
    if given and matcher.ratio() < LEAST_ALIKE:
        return tuple(_marked("extra", said))
    pieces: list[Piece] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(given[j1:j2])))
        else:
            pieces += _marked("missing", "".join(wanted[i1:i2]))
            pieces += _marked("extra", "".join(given[j1:j2]))
    return tuple(pieces)


def _marked(kind: Kind, text: str) -> Iterator[Piece]:
    """A stretch of a kind, white space at the beginnings of its lines apart."""
    for part in _UNMARKED.split(text):
        if part:
            yield Piece("same" if part.isspace() else kind, part)


def cut(text: str) -> str:
    """The text, or its beginning with the number of characters that were left out."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n… ({len(text) - LONGEST:,} more characters)"


def _json(text: str) -> tuple[Any, str]:
    """The object or list that the text begins with, and what follows it; None for anything else."""
    text = text.strip()
    if len(text) > 4 * LONGEST or not text.startswith(("{", "[")):
        return None, ""
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_object).raw_decode(text)
        return (value, text[end:]) if _depth(value) <= _DEEPEST else (None, "")
    except (ValueError, RecursionError):
        return None, ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; raises `ValueError` for a key that stands twice, which is no JSON to a scorer."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _ordered_like(value: Any, model: Any) -> Any:
    """The value with its keys in the model's order, those it has besides at the end."""
    if isinstance(value, dict):
        like = model if isinstance(model, dict) else {}
        keys = [*(key for key in like if key in value), *(key for key in value if key not in like)]
        return {key: _ordered_like(value[key], like.get(key)) for key in keys}
    if isinstance(value, list):
        models = model if isinstance(model, list) else []
        models = [*models, *[None] * max(0, len(value) - len(models))]
        return [_ordered_like(one, like) for one, like in zip(value, models, strict=False)]
    return value


def _lines(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
