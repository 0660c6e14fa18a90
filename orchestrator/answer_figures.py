"""What answers look like, right or wrong: how many are missing, empty, alike, cut, how long."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.evaluation.evidence import AnswerFigures
from orchestrator.evaluation.scores import Answered

#: What `generate.py` and endpoints say of an answer that became too long.
_CUT = frozenset({"length", "max_new_tokens", "limit"})


def answer_figures(rows: Sequence[Answered], file: Path | None = None) -> AnswerFigures:
    """The figures of answers; lengths and times are in the lines of `file`, if it has them."""
    given = [row.predicted for row in rows if row.predicted is not None]
    counts = Counter(text.strip() for text in given)
    lines = _lines(file) if file is not None else []
    stops = [line["stopped_by"] for line in lines if isinstance(line.get("stopped_by"), str)]
    tokens = _numbers(lines, "new_tokens")
    seconds = sorted(_numbers(lines, "latency_s"))
    return AnswerFigures(
        rows=len(rows),
        missing=len(rows) - len(given),
        empty=counts.get("", 0),
        different=len(counts),
        commonest_rows=max(counts.values(), default=0),
        cut=sum(stop in _CUT for stop in stops) if stops else None,
        tokens_mean=sum(tokens) / len(tokens) if tokens else None,
        latency_s_p50=_nearest_rank(seconds, 0.5),
        latency_s_p95=_nearest_rank(seconds, 0.95),
    )


def _lines(file: Path) -> list[Mapping[str, Any]]:
    """The lines that are JSON objects; figures need no others."""
    found: list[Mapping[str, Any]] = []
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def _numbers(lines: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    values = (line.get(name) for line in lines)
    return [
        float(value)
        for value in values
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def _nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that is no less than this share of all."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
