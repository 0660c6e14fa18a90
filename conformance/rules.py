"""Which cases of a suite are left out, and which are known to fail: `rules/NAME.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "rules"


@dataclass(frozen=True)
class Rule:
    """Cases by their ids, in which `*` stands for anything, and why they are exceptions."""

    cases: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Rules:
    """`left_out` is not run: it does not address the face. `fails` is run, counted and known."""

    left_out: tuple[Rule, ...] = ()
    fails: tuple[Rule, ...] = ()


def rules_of(suite: str) -> Rules:
    """The rules of a suite; none without a file."""
    file = _FOLDER / f"{suite}.toml"
    if not file.exists():
        return Rules()
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return Rules(
        **{
            kind: tuple(Rule(tuple(one["cases"]), one["reason"]) for one in tables.get(kind, ()))
            for kind in ("left_out", "fails")
        }
    )


def matches(pattern: str, case: str) -> bool:
    """Whether a pattern names a case; the brackets of parameters are plain characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), case) is not None
