"""The benchmark suites that are known: scorer, licence, where the rows are, and their columns."""

from __future__ import annotations

import difflib
import functools
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict

from orchestrator.errors import InputError

#: What is asked for behind a question, so that the scorer finds the answer where it looks for it.
ASKED = MappingProxyType(
    {
        "boxed": "Reason step by step. Put the final answer into \\boxed{}.",
        "letter": "Reason step by step. Put the letter of the right option into \\boxed{}.",
        "code": "Complete the Python function. Answer with the whole function in one code block.",
        "none": "",
    }
)


class Suite(BaseModel):
    """A suite. `columns` and `answers` end in `?` where they may be absent.

    `address` names its rows on the Hub by commit; None: whoever uses it names a file. `rows` is how
    many there are in that file. `answers` are the columns of a second file, matched by `id`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    scorer: str
    licence: str
    paper: str
    source: str
    columns: tuple[str, ...]
    ask: Literal["boxed", "letter", "code", "none"]
    address: str | None = None
    split: str | None = None
    rows: int | None = None
    answers: tuple[str, ...] = ()


@functools.cache
def suites() -> MappingProxyType[str, Suite]:
    """All suites by name, in the order of the file."""
    text = (Path(__file__).parent / "suites.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)
    return MappingProxyType({name: Suite(name=name, **entry) for name, entry in entries.items()})


def suite_named(name: str) -> Suite:
    """The suite of a name. Raises `InputError` that names those there are."""
    known = suites()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"there is no suite {name!r}", hint=f"{hint}Suites: {', '.join(known)}.")
    return known[name]
