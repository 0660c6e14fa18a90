"""Reads JSON in which no object may hold a key twice, which most parsers keep silent about."""

from __future__ import annotations

import json
from typing import Any

import jiter
import orjson


class RepeatedKey(Exception):
    """An object holds this key twice; a parser would drop all but the last."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def read_json(text: str | bytes) -> Any:
    """The value of a JSON document. Raises `RepeatedKey`, or `orjson.JSONDecodeError`.

    jiter is the one fast parser that notices repeated keys. What it refuses, for that or for
    another reason, is read again by orjson, whose word counts on what is JSON. Only numbers differ:
    here whole ones keep all their digits, and 1e999 is infinite.
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
    return value


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
