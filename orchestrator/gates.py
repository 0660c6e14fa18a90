"""Gates: what the answers must reach before anything is published, judged row by row. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.evaluation.comparison import better_than
from orchestrator.evaluation.evidence import Alarm, AnswerFigures, Figures, GateVerdict
from orchestrator.evaluation.scores import MetricKind, RowScores, metric_of
from orchestrator.spec import AUDIT_MEAN, GateBlock

#: Training accuracy from here on, with an evaluation up to there, is learning by heart.
_LEARNT, _NOTHING_LEARNT = 0.98, 0.05
#: So many of the answers being one and the same is an alarm, unless so many are expected to be.
_ALIKE, _TIMES_EXPECTED = 0.5, 1.5
_SURE = 0.95
#: Of fewer rows, nothing is concluded from how much answers are alike.
_FEW_ROWS = 10


def judge(
    gates: Sequence[GateBlock],
    kinds: Sequence[MetricKind],
    scored: Mapping[str, Sequence[RowScores]],
    *,
    nothing_published: bool = False,
    audited: Figures | None = None,
    unscored_rows: int = 0,
    seed: int = 0,
) -> tuple[GateVerdict, ...]:
    """Each gate's verdict on the rows of the tuned model.

    `scored` has the rows of every way to answer by its name, of `tuned` at least. A metric that no
    row counts for fails its gate, and so does a comparison with answers that are not there; only a
    comparison with `published` passes where `nothing_published`. `audited` is the mean of what
    people gave, None as long as nobody has; it passes once no `unscored_rows` are left.
    """
    return tuple(
        _verdict_of_people(gate, audited, unscored_rows)
        if gate.metric == AUDIT_MEAN
        else _verdict(gate, kinds, scored, nothing_published, seed)
        for gate in gates
    )


def _verdict_of_people(gate: GateBlock, found: Figures | None, unscored: int) -> GateVerdict:
    """The verdict on what people gave the answers, from 0 to 5."""
    if found is None:
        words = f"{AUDIT_MEAN} is not there: nobody has scored answers (orchestrator audit)"
        return GateVerdict(metric=gate.metric, passed=False, words=words)
    reached = gate.min is None or found.value >= gate.min
    kept = gate.max is None or found.value <= gate.max
    shown = f"{AUDIT_MEAN} {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    least = f", at least {gate.min:g} wanted" if gate.min is not None else ""
    most = f", at most {gate.max:g} wanted" if gate.max is not None else ""
    still = f"; {unscored} more were drawn, and nobody has scored them" if unscored else ""
    return GateVerdict(
        metric=gate.metric,
        passed=reached and kept and not unscored and math.isfinite(found.value),
        words=f"{shown} of {found.rows} rows that people scored{least}{most}{still}",
        min=gate.min,
        max=gate.max,
        value=found.value,
        low=found.low,
        high=found.high,
        rows=found.rows,
    )


def _verdict(
    gate: GateBlock,
    kinds: Sequence[MetricKind],
    scored: Mapping[str, Sequence[RowScores]],
    nothing_published: bool,
    seed: int,
) -> GateVerdict:
    kind = next((one for one in kinds if one.name == gate.metric), None)
    rows = _of_slice(scored["tuned"], gate.slice_of)
    found = metric_of(kind, rows, seed=seed) if kind and rows else None
    name = gate.metric + (" of {}: {}".format(*gate.slice_of) if gate.slice_of else "")
    missed: list[str] = []
    held: list[str] = []
    if kind is None or found is None:
        missed.append(f"{name} is not there: no row counts for it")
    elif not math.isfinite(found.value):
        missed.append(f"{name} is {found.value}: a row's figure is no number")
    else:
        shown = f"{name} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] of {found.rows} rows"
        if gate.min is not None:
            words = f"{shown}, at least {gate.min:g} wanted"
            (held if found.value >= gate.min else missed).append(words)
        if gate.max is not None:
            words = f"{shown}, at most {gate.max:g} wanted"
            (held if found.value <= gate.max else missed).append(words)
        if gate.better_than is not None:
            passed, words = _compared(gate, kind, rows, scored, nothing_published, seed)
            (held if passed else missed).append(f"{shown}, {words}")
    return GateVerdict(
        metric=gate.metric,
        passed=not missed,
        words="; ".join(missed or held),
        slice=gate.slice_of,
        min=gate.min,
        max=gate.max,
        better_than=gate.better_than,
        confidence=gate.confidence if gate.better_than else None,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        rows=found.rows if found else None,
    )


def _compared(
    gate: GateBlock,
    kind: MetricKind,
    rows: Sequence[RowScores],
    scored: Mapping[str, Sequence[RowScores]],
    nothing_published: bool,
    seed: int,
) -> tuple[bool, str]:
    against = str(gate.better_than)
    if against == "published" and nothing_published:
        return True, "and nothing is published yet"
    other = _of_slice(scored.get(against, ()), gate.slice_of)
    found = better_than(kind, rows, other, gate.confidence, seed=seed) if other else None
    if found is None:
        return False, f"and there are no answers of {against} to compare with"
    words = (
        f"{found.difference:+.3f} against {against} over {found.rows} rows "
        f"(p = {found.p_value:.2g}, {found.test})"
    )
    return found.better, f"{words}, better with {gate.confidence:.0%} confidence wanted"


def alarms(
    main: MetricKind,
    scored: Mapping[str, Sequence[RowScores]],
    answers: AnswerFigures,
    expected: Sequence[str],
    training_accuracy: float | None,
    *,
    seed: int = 0,
) -> tuple[Alarm, ...]:
    """What published projects learned too late.

    `main` is the scorer's first metric, `expected` the right answers, `training_accuracy` the last
    share of tokens that training had right.
    """
    return tuple(
        alarm
        for alarm in (
            _memorised(main, scored["tuned"], training_accuracy, seed),
            _worse(main, scored, seed),
            _alike(answers, expected),
        )
        if alarm is not None
    )


def _memorised(
    main: MetricKind, rows: Sequence[RowScores], training_accuracy: float | None, seed: int
) -> Alarm | None:
    found = metric_of(main, rows, seed=seed)
    if training_accuracy is None or found is None or not main.higher_is_better:
        return None
    if training_accuracy < _LEARNT or found.value > _NOTHING_LEARNT:
        return None
    words = (
        f"training had {training_accuracy:.1%} of its tokens right (from {_LEARNT:.0%} on) and "
        f"{main.name} is {found.value:.3f} (up to {_NOTHING_LEARNT:g}): learnt by heart, or "
        "evaluated with another prompt than it was trained on"
    )
    return Alarm("memorised", words)


def _worse(main: MetricKind, scored: Mapping[str, Sequence[RowScores]], seed: int) -> Alarm | None:
    base = scored.get("base", ())
    found = better_than(main, base, scored["tuned"], _SURE, seed=seed) if base else None
    if found is None or not found.better:
        return None
    words = (
        f"{main.name} is worse than the untuned model's by {abs(found.difference):.3f} over "
        f"{found.rows} rows (p = {found.p_value:.2g}, {found.test})"
    )
    return Alarm("worse-than-base", words)


def _alike(answers: AnswerFigures, expected: Sequence[str]) -> Alarm | None:
    if answers.rows < _FEW_ROWS or not expected:
        return None
    share = answers.commonest_rows / answers.rows
    wanted = max(Counter(expected).values()) / len(expected)
    if share < _ALIKE or share < _TIMES_EXPECTED * wanted:
        return None
    words = (
        f"{answers.commonest_rows} of {answers.rows} answers are one and the same (from "
        f"{_ALIKE:.0%} on), where {wanted:.0%} are expected to be"
    )
    return Alarm("alike", words)


def failures(verdicts: Sequence[GateVerdict], found: Sequence[Alarm]) -> Iterator[str]:
    """What holds a run, in words: gates that failed, and alarms where there are gates at all."""
    yield from (one.words for one in verdicts if not one.passed)
    if verdicts:
        yield from (f"alarm {one.name}: {one.words}" for one in found)


def _of_slice(rows: Sequence[RowScores], part: tuple[str, str] | None) -> list[RowScores]:
    if part is None:
        return list(rows)
    name, value = part
    return [row for row in rows if row.slices.get(name) == value]
