"""The scorers by the names that users call them; each is imported when it is used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from orchestrator.calls import Syntax
from orchestrator.errors import InputError, Place
from orchestrator.evaluation.scores import Answered, Scorer

#: Makes a scorer for these rows; the syntax is that of the model's calls, None if it is not known.
Maker = Callable[[Sequence[Answered], Syntax | None], Scorer]


def _route_plan(rows: Sequence[Answered], _: Syntax | None) -> Scorer:
    from orchestrator.evaluation.route_plans import RoutePlanScorer

    return RoutePlanScorer.of(rows)


def _calls(_: Sequence[Answered], syntax: Syntax | None) -> Scorer:
    from orchestrator.evaluation.tool_calls import CallsScorer

    return CallsScorer(syntax)


def _math(_rows: Sequence[Answered], _: Syntax | None) -> Scorer:
    from orchestrator.evaluation.maths import MathScorer

    return MathScorer()


def _code(rows: Sequence[Answered], _: Syntax | None) -> Scorer:
    from orchestrator.evaluation.code import CodeScorer

    return CodeScorer.of(rows)


def _text(_rows: Sequence[Answered], _: Syntax | None) -> Scorer:
    from orchestrator.evaluation.texts import TextScorer

    return TextScorer()


def _bfcl(_: Sequence[Answered], syntax: Syntax | None) -> Scorer:
    from orchestrator.evaluation.permitted_calls import PermittedCallsScorer

    return PermittedCallsScorer(syntax)


def _latency(rows: Sequence[Answered], _: Syntax | None) -> Scorer:
    from orchestrator.evaluation.latency import LatencyScorer

    return LatencyScorer.of(rows)


SCORERS: Mapping[str, Maker] = MappingProxyType(
    {
        "route-plan": _route_plan,
        "calls": _calls,
        "bfcl": _bfcl,
        "math": _math,
        "code": _code,
        "text": _text,
        "latency": _latency,
    }
)


def scorer_named(name: str) -> Maker:
    """What makes the scorer of a name. Raises `InputError` that names those there are."""
    maker = SCORERS.get(name)
    if maker is None:
        close = difflib.get_close_matches(name, SCORERS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            f"there is no scorer {name!r}", hint=f"{hint}Scorers: {', '.join(SCORERS)}."
        )
    return maker


def made_for(
    maker: Maker,
    rows: Sequence[Answered],
    syntax: Syntax | None = None,
    *,
    places: Mapping[str, Place] | None = None,
) -> Scorer:
    """The scorer for these rows; an `InputError` names the place of the row that is wrong."""
    try:
        return maker(rows, syntax)
    except InputError as error:
        error.where = error.where or _place_of_wrong(maker, rows, syntax, places or {})
        raise


def _place_of_wrong(
    maker: Maker, rows: Sequence[Answered], syntax: Syntax | None, places: Mapping[str, Place]
) -> Place | None:
    for row in rows:
        try:
            maker((row,), syntax)
        except InputError:
            return places.get(row.key)
    return None
