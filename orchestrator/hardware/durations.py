"""Durations as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

from orchestrator.errors import InputError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_S = 30 * 86400


def parse_duration(text: str) -> int:
    """Seconds of `90m`, `1.5h`, `2d`, `45s` or a bare number of seconds; raises `InputError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text, re.ASCII)
    if found is None or len(text) > 32:
        raise InputError(
            f"{text[:32]!r} is not a duration",
            hint="Write a number and s, m, h or d, as in 90m, 1.5h or 2d.",
        )
    seconds = Fraction(found[1]) * _SECONDS[found[2] or "s"]
    if seconds.denominator != 1 or not 0 < seconds <= _MOST_S:
        raise InputError(
            f"{text.strip()!r} is no duration that a job can have",
            hint="Give whole seconds, more than none and at most 30 days.",
        )
    return int(seconds)


def format_duration(seconds: int) -> str:
    """Hours and minutes as people read them: `1h 30m`, `45m`, `20s`."""
    if seconds < 60:
        return f"{seconds}s"
    hours, minutes = divmod((seconds + 59) // 60, 60)
    return " ".join(
        part for part in (f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes)) if part
    )
