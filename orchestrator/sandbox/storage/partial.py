"""Partial responses: what the `fields` parameter selects from an answer.

`a,b` names fields, `a/b` a field of a field, `a(b,c)` several of them, `*` any; a list is
selected from element by element.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

#: The fields below a field; none means all of it.
_Tree: TypeAlias = "dict[str, _Tree]"

_TOKEN = re.compile(r"\s*([A-Za-z0-9_\-.*]+|[(),/])\s*")


class FieldsError(ValueError):
    """The selection cannot be read."""


def selected(value: Mapping[str, Any], fields: str) -> dict[str, Any]:
    """The part of an answer that `fields` names; raises `FieldsError`."""
    tokens = _tokens(fields)
    tree = _list(tokens)
    if tokens:
        raise FieldsError(fields)
    chosen: dict[str, Any] = _cut(dict(value), tree)
    return chosen


def _tokens(fields: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(fields):
        match = _TOKEN.match(fields, at)
        if match is None:
            raise FieldsError(fields)
        tokens.append(match[1])
        at = match.end()
    tokens.reverse()
    return tokens


def _list(tokens: list[str]) -> _Tree:
    """Read `item,item`; `tokens` is a stack."""
    tree: _Tree = {}
    while True:
        _item(tokens, tree)
        if not tokens or tokens[-1] != ",":
            return tree
        tokens.pop()


def _item(tokens: list[str], tree: _Tree) -> None:
    if not tokens or tokens[-1] in "(),/":
        raise FieldsError("" if not tokens else tokens[-1])
    below = tree.setdefault(tokens.pop(), {})
    following = tokens[-1] if tokens else ""
    if following == "/":
        tokens.pop()
        _item(tokens, below)
    elif following == "(":
        tokens.pop()
        below.update(_list(tokens))
        if not tokens or tokens.pop() != ")":
            raise FieldsError("an open parenthesis")


def _cut(value: Any, tree: _Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_cut(element, tree) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _cut(field, tree.get(name, tree.get("*", {})))
        for name, field in value.items()
        if name in tree or "*" in tree
    }
