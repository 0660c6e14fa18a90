"""A piece of advice: what stands out, by which numbers and which rule, and what may help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """`seen` has the numbers, `rule` the threshold, `remedy` what may be tried."""

    name: str
    seen: str
    rule: str
    remedy: str


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.0f} %" if share >= 0.01 or share <= 0 else f"{100 * share:.1f} %"
