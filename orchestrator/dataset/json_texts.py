"""The texts in a JSON value, however deep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def texts_in(value: Any, *, names: bool) -> Iterator[str]:
    """Its strings in the order in which they stand; those that name fields too with `names`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if names:
                yield name
            yield from texts_in(item, names=names)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item, names=names)
