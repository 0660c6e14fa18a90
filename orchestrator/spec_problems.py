"""The wording of what is wrong with a spec: field, place, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.errors import InputError
from orchestrator.yaml_places import Document, Path_


def describe(document: Document, detail: ErrorDetails, model: type[BaseModel]) -> InputError:
    """What a validation error of `model` means for the person who wrote the document."""
    path: Path_ = tuple(detail["loc"])
    field = ".".join(str(part) for part in path)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        close = _nearest(str(path[-1]), known)
        hint = f"Did you mean `{close}`?" if close else f"Known keys here: {', '.join(known)}."
        return InputError(f"unknown key `{field}`", where=document.key_place(path), hint=hint)
    if detail["type"] == "missing":
        return InputError(f"`{field}` is missing", where=document.place(path), hint="Add it.")
    message, hint = _WORDS.get(detail["type"], (_plain(detail["msg"]), ""))
    given = detail["input"]
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return InputError(
        f"`{field or 'spec'}`: {message}{shown}",
        where=document.place(path),
        hint=_HINTS.get(field, hint),
    )


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The key that was meant: one that is a part of the given one, or looks much like it."""
    parts = [name for name in known if name in key or key in name]
    return next(iter(parts or difflib.get_close_matches(key, known, n=1, cutoff=0.6)), None)


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return message[:1].lower() + message[1:]


#: What a kind of mistake is called here, and what to do about it. The messages of all other kinds
#: say by themselves what would be right (a range, a choice).
_BLOCK = ("must be a block of `key: value` lines", "Indent its keys below it, or remove it.")
_WORDS = {
    "model_type": _BLOCK,
    "model_attributes_type": _BLOCK,
    "tuple_type": ("must be a list", "Write it as [one, two]."),
    "string_type": ("must be text", "Put the value in quotes."),
    "int_type": ("must be a whole number", "Write it as 3, without quotes or a decimal point."),
    "float_type": ("must be a number", "Write it without quotes, as 0.5 or 1e-4."),
    "bool_type": ("must be true or false", "Write it without quotes."),
    "string_pattern_mismatch": ("has not the right form", ""),
}

_HINTS = {
    "gates": "Write `none`, or a list: a line `- metric: NAME` with `min`, `max` or `better_than`.",
    "name": "Lowercase letters, digits, `-`, `_` and `.`, at most 63; the first a letter or digit.",
    "publish.repo": "Write `namespace/name`, or only `name` for your own namespace: letters, "
    "digits, `-`, `_` and `.`.",
    "publish.collection": "Write what follows /collections/ in its address, as in "
    "my-team/routers-64f9a55bb3115b4f513ec026; a new one is made on the Hub's site.",
    "version": "This program reads version 1.",
    **{
        f"data.split.{part}": "Write it as a share of 1: 0.85 for 85 %."
        for part in ("train", "validation", "test")
    },
    "service.timeout": "Write a number with s, m, h or d: 90m, 4h, 1.5d; at most 30d.",
    "service.namespace": "Write the name of a user or an organization on the Hub.",
    "service.image": "Write it as `docker pull` takes it: "
    "ghcr.io/astral-sh/uv:python3.12-bookworm.",
    "tuning.learning_rate": "For tuning, 1e-5 to 1e-3 is usual; `orchestrator plan` shows the "
    "baseline.",
    "tuning.learning_rate_multiplier": "It multiplies the model's baseline: 0.5 to 2 is usual.",
}


def _blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    """The blocks that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _blocks(part)


def _known_keys(block: type[BaseModel], path: Path_) -> list[str]:
    """The keys that the block at `path` has."""
    for part in path:
        if isinstance(part, int):  # a block of a list: the list led here
            continue
        field = block.model_fields.get(part)
        if field is None:
            return []
        inner = list(_blocks(field.annotation))
        if not inner:
            return []
        block = inner[0]
    return list(block.model_fields)
