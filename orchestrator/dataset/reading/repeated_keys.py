"""Reads JSON in which no object may hold a key twice, which most parsers keep silent about.

Nor may values be nested deeper than the libraries that write and check them can follow.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import jiter
import orjson

#: How deep lists and objects may be nested, which is what jiter reads. orjson reads 1,024 levels,
#: and writes no more than 254.
MOST_LEVELS = 201


class RepeatedKey(Exception):
    """An object holds this key twice; a parser would drop all but the last."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class TooDeep(orjson.JSONDecodeError):
    """A document is nested deeper than `MOST_LEVELS`."""

    def __init__(self) -> None:
        super().__init__(f"it is nested deeper than {MOST_LEVELS} levels", "", 0)

    def __str__(self) -> str:
        return self.msg


def read_json(text: str | bytes) -> Any:
    """The value of a JSON document. Raises `RepeatedKey`, or `orjson.JSONDecodeError` (`TooDeep`).

    jiter is the one fast parser that notices repeated keys. What it refuses, for that, for its
    depth or for another reason, is read again by orjson, whose word counts on what is JSON. Only
    numbers differ: here whole ones keep all their digits, and 1e999 is infinite.
    """
    try:
        return jiter.from_json(
            text.encode() if isinstance(text, str) else text,
            cache_mode="keys",
            catch_duplicate_keys=True,
            allow_inf_nan=False,
        )
    except ValueError:
        value = orjson.loads(text)
    key = _first_repeated(text)
    if key is not None:
        raise RepeatedKey(key)
    if _levels(value) > MOST_LEVELS:
        raise TooDeep
    return value


def _levels(value: Any) -> int:
    """How deep lists and objects are nested in a value; a text or number alone is 0 deep."""
    count = 0
    level = [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        count += 1
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = list(itertools.chain.from_iterable(inside))
    return count


def _first_repeated(text: str | bytes) -> str | None:
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except RepeatedKey as found:
        return found.key
    except (ValueError, RecursionError):
        return None  # orjson took it: nested deeper than the standard library reads
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKey(key)
            seen.add(key)
    return found
