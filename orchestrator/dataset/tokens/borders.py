"""Where a text can be cut so that its parts have the same tokens alone as together.

Most of a row is the same in all rows: the system prompt, the tools. What stands between two borders
needs to be counted once. A border is only used where the tokenizer's own parts prove it; for any
other tokenizer there are none, and every row is counted whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

#: Between a letter and a space that another letter follows: here a word ends, whatever is around.
_LETTER = "[A-Za-z]"
WORD_END = re.compile(f"(?<={_LETTER})(?= {_LETTER})")

#: Splits at every word end, and looks no further: a letter and a space never share a match, and
#: what matches from " a" on does not depend on what came before. GPT-2's is ByteLevel's own.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _LLAMA_3.replace("{1,3}", "")
_SPLITS_AT_WORD_ENDS = frozenset({_LLAMA_3, _QWEN})
#: Pre-tokenizers that look at each stretch between special tokens by itself.
_LOCAL = frozenset(
    {"ByteLevel", "Digits", "Split", "Whitespace", "WhitespaceSplit", "Punctuation"}
    | {"BertPreTokenizer", "CharDelimiterSplit", "UnicodeScripts"}
)
_NORMALIZERS = frozenset(
    {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Replace", "StripAccents", "Prepend"}
)
_GEMMA_SPACE = "\u2581"
_PROBE = "  Go on, it's 12 o'clock\n\n and\ttime to go  home  "


@dataclass(frozen=True)
class Borders:
    """`special` matches the special tokens, at both ends of which texts can be cut.

    `words` says whether they can be cut at `WORD_END` too. `turn_end` matches the special tokens
    that end a text, and what space follows them, whether or not they are borders.
    """

    special: re.Pattern[str] | None
    words: bool
    turn_end: re.Pattern[str] | None

    def last_word(self, text: str, within: int = 400) -> int:
        """The last place where `text` can be cut between words, 0 if there is none nearby."""
        if not self.words:
            return 0
        start = max(0, len(text) - within)
        ends = [match.end() for match in WORD_END.finditer(text, start)]
        return ends[-1] if ends else 0


def find_borders(backend: Any, wanted: Collection[str]) -> Borders:
    """The borders that this tokenizer proves, at those of the special tokens that are `wanted`."""
    tokens = list(backend.get_added_tokens_decoder().values())
    found = _turn_end(wanted)
    plain = not any(
        token.normalized or token.lstrip or token.rstrip or token.single_word for token in tokens
    )
    if not plain or not _is_local(backend):
        return Borders(None, False, found)
    contents = [token.content for token in tokens]
    alone = sorted(token for token in wanted if _stands_alone(token, contents))
    special = _pattern(alone)
    words = not any(WORD_END.search(content) for content in contents) and _ends_words(backend)
    if not _holds(backend, alone, words):
        return Borders(None, False, found)
    return Borders(special, words, found)


def _pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first, as the tokenizer looks for them.
    ordered = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None


def _turn_end(tokens: Iterable[str]) -> re.Pattern[str] | None:
    # A token that closes a call belongs to what is answered.
    pattern = _pattern(token for token in tokens if "call" not in token)
    return re.compile(rf"{pattern.pattern}+\s*\Z") if pattern is not None else None


def _stands_alone(token: str, others: Collection[str]) -> bool:
    """Whether wherever `token` is written it is one token: no other can begin before its end.

    The tokenizer takes the leftmost and longest of its added tokens. So none may hold this one, and
    none may end as this one begins (nor this one itself, so that two cannot share a letter).
    """
    starts = {token[:length] for length in range(1, len(token))}
    return not any(
        (token in other and token != other) or any(other.endswith(start) for start in starts)
        for other in others
    )


def _is_local(backend: Any) -> bool:
    """Whether each stretch between special tokens is worked on by itself."""
    known = {"pre_tokenizer": _LOCAL, "normalizer": _NORMALIZERS}
    for name, kinds in known.items():
        for part in _parts(getattr(backend, name), f"{name}s"):
            if part["type"] not in kinds:
                return False
    return not getattr(backend.model, "dropout", None)


def _parts(component: Any, inner: str) -> list[dict[str, Any]]:
    """What a normalizer or pre-tokenizer is made of, as tokenizer.json writes it."""
    if component is None:
        return []
    value: dict[str, Any] = orjson.loads(component.__getstate__())
    if value["type"] != "Sequence":
        return [value]
    parts: list[dict[str, Any]] = value.get(inner) or value.get(inner.replace("_", "")) or []
    return parts or [value]


def _ends_words(backend: Any) -> bool:
    """Whether no token reaches over the end of a word."""
    if type(backend.model).__name__ != "BPE":
        return False
    normalizers = _parts(backend.normalizer, "normalizers")
    parts = _parts(backend.pre_tokenizer, "pre_tokenizers")
    if [part["type"] for part in normalizers] == ["Replace"]:
        return _joins_no_words(backend, normalizers[0], parts)
    if any(part["type"] != "NFC" for part in normalizers):
        return False
    return any(_splits_words(part) for part in parts) and all(
        _splits_words(part) or part["type"] == "Digits" or _only_maps_bytes(part) for part in parts
    )


def _splits_words(part: dict[str, Any]) -> bool:
    if part["type"] == "ByteLevel":
        return bool(part["use_regex"] and not part["add_prefix_space"])
    return (
        part["type"] == "Split"
        and part["behavior"] == "Isolated"
        and not part["invert"]
        and part["pattern"].get("Regex") in _SPLITS_AT_WORD_ENDS
    )


def _only_maps_bytes(part: dict[str, Any]) -> bool:
    return part["type"] == "ByteLevel" and not part["use_regex"] and not part["add_prefix_space"]


def _joins_no_words(backend: Any, replace: dict[str, Any], parts: list[dict[str, Any]]) -> bool:
    """Gemma's way: spaces become letters of their own, nothing is split, and the vocabulary has no
    token with a letter before such a space; so no merge ever joins the two.
    """
    if replace["pattern"] != {"String": " "} or replace["content"] != _GEMMA_SPACE:
        return False
    # A split at spaces finds none: they were replaced before.
    if any(part.get("pattern") != {"String": " "} for part in parts):
        return False
    model = backend.model
    if model.ignore_merges or model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    joined = re.compile(f"{_LETTER}{_GEMMA_SPACE}")
    return not any(map(joined.search, backend.get_vocab(with_added_tokens=False)))


def _holds(backend: Any, special: Sequence[str], words: bool) -> bool:
    """The proof tried on a text: should it fail, nothing is cut."""
    pieces = [_PROBE]
    for token in special:
        pieces += [token, _PROBE]
    apart = pieces
    if words:
        apart = [part for piece in pieces for part in WORD_END.split(piece)]
    encode = backend.encode
    together = encode("".join(pieces), add_special_tokens=False).ids
    return bool(
        together == [id_ for part in apart for id_ in encode(part, add_special_tokens=False).ids]
    )
