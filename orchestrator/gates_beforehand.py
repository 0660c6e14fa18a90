"""Gates and scorer held against the expected answers themselves, before anything is paid.

What not even those pass can never be published, and a scorer that likes any text as much as what
is expected judges nothing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.answer_files import read_answers
from orchestrator.errors import InputError
from orchestrator.evaluation.scorers import made_for, scorer_named
from orchestrator.evaluation.scores import Answered, MetricKind, RowScores, Scorer
from orchestrator.evaluation.table import scored_row
from orchestrator.plan import EvaluationPlan
from orchestrator.spec import AUDIT_MEAN, GateBlock, JobSpec

#: Scorers that say at once, from the texts alone, what an answer is worth.
_FROM_TEXTS = ("route-plan", "calls", "text")
#: What no row expects.
_ANY_TEXT = "?"
#: People score from 0 to 5.
_HIGHEST_SCORE = 5
_MOST_NAMED = 8


@dataclass(frozen=True)
class _Beforehand:
    """The rows that will be answered: as they are, and with what the expected answers score."""

    scorer: Scorer
    rows: tuple[Answered, ...]
    #: None where the scorer needs more than texts.
    scored: tuple[RowScores, ...] | None

    @property
    def slices(self) -> set[tuple[str, str]]:
        """All slices that any of the rows is in."""
        return {part for one in self.scored or self.rows for part in one.slices.items()}

    def of(self, part: tuple[str, str] | None) -> list[RowScores]:
        """The scored rows of a slice."""
        scored = self.scored or ()
        return [one for one in scored if part is None or one.slices.get(part[0]) == part[1]]


def unreachable_gates(
    spec: JobSpec, planned: EvaluationPlan | None, file: Path | None
) -> Iterator[str]:
    """What no answers could pass, or any would, in a sentence each.

    `file` holds the rows that are answered.
    """
    if planned is None:
        return
    try:
        found = _read(planned, file) if file is not None else None
    except InputError as error:
        yield f"the scorer {planned.scorer} cannot score these rows: {error}"
        return
    if found is not None and found.scored is not None:
        yield from _judges_nothing(found, found.scored)
    for gate in spec.gates or ():
        yield from _unreachable(gate, planned, found)


def _read(planned: EvaluationPlan, file: Path) -> _Beforehand:
    every = read_answers(file, "expected")[: planned.rows]
    rows = tuple(
        Answered(str(number), row.answer, row.answer, row.prompt, row.slices, row.tools)
        for number, row in enumerate(every)
        if row.answer is not None
    )
    places = {str(number): row.place for number, row in enumerate(every)}
    maker = scorer_named(planned.scorer)
    if planned.scorer not in _FROM_TEXTS:
        return _Beforehand(maker((), None), rows, None)
    # Rows hold calls in a syntax of their own, whatever the model is to answer in.
    scorer = made_for(maker, rows, places=places)
    return _Beforehand(scorer, rows, tuple(scored_row(scorer, row, places) for row in rows))


def _judges_nothing(found: _Beforehand, scored: Sequence[RowScores]) -> Iterator[str]:
    """A scorer of other answers than these rows expect."""
    main = found.scorer.metrics[0]
    said = [found.scorer.score(row.with_answer(_ANY_TEXT)) for row in found.rows]
    best, any_text = _value(main, scored), _value(main, said)
    if best is not None and best == any_text:
        yield (
            f"the scorer {found.scorer.name} is not for these rows: what they expect has "
            f"{main.name} {best:g}, and so has any other text (docs/evaluation.md says which "
            "scorer is for what)"
        )


def _unreachable(
    gate: GateBlock, planned: EvaluationPlan, found: _Beforehand | None
) -> Iterator[str]:
    rows = planned.rows
    name = gate.metric + (" of {}: {}".format(*gate.slice_of) if gate.slice_of else "")
    never = f"the gate {name} can never pass"
    if gate.metric == AUDIT_MEAN:
        if (gate.min or 0) > _HIGHEST_SCORE or (gate.max is not None and gate.max < 0):
            yield f"{never}: people score from 0 to {_HIGHEST_SCORE}"
        return
    if found is not None and gate.slice_of is not None:
        # Files of answers may say of themselves in which slices their rows are.
        known = planned.service != "file" and _knows_slices(found)
        if gate.slice_of not in found.slices:
            if not known:
                return
            yield f"{never}: no row of {planned.split} is in that slice. {_known(found, gate)}"
            return
        rows = len(found.of(gate.slice_of)) if found.scored is not None else rows
    if found is not None and found.scored is not None:
        yield from _failed_by_the_best(gate, never, found)
    if gate.better_than is not None:
        yield from _never_sure(gate, rows)


def _knows_slices(found: _Beforehand) -> bool:
    """Whether the scorer puts rows into no other slices than those that are known here."""
    return found.scored is not None or found.scorer.name in ("math", "latency")


def _failed_by_the_best(gate: GateBlock, never: str, found: _Beforehand) -> Iterator[str]:
    """What holds even the expected answers."""
    kinds = {kind.name: kind for kind in found.scorer.metrics}
    kind = kinds.get(gate.metric)
    value = _value(kind, found.of(gate.slice_of)) if kind is not None else None
    if value is None:
        if kind is None or not _is_measured(kind):
            others = [one for one in kinds if one.startswith(gate.metric.partition("[")[0] + "[")]
            known = f"; there are {', '.join(others[:_MOST_NAMED])}" if others else ""
            yield f"{never}: no row counts for it{known}"
        return
    if gate.min is not None and value < gate.min:
        yield f"{never}: what is expected has {value:.3g}, and at least {gate.min:g} is wanted"
    if gate.max is not None and value > gate.max:
        yield f"{never}: what is expected has {value:.3g}, and at most {gate.max:g} is wanted"


def _is_measured(kind: MetricKind) -> bool:
    """Whether the metric is that of a model at work, which texts alone say nothing of."""
    return kind.name in ("loss", "perplexity", "token_accuracy")


def _value(kind: MetricKind, scored: Sequence[RowScores]) -> float | None:
    parts = [one for one in map(kind.parts_of, scored) if one is not None]
    return kind.value_of(parts) if parts else None


def _known(found: _Beforehand, gate: GateBlock) -> str:
    """The slices there are, the nearest first."""
    wanted = ": ".join(gate.slice_of or ())
    there = sorted(": ".join(part) for part in found.slices)
    if not there:
        return "These rows are in no slices"
    near = difflib.get_close_matches(wanted, there, n=_MOST_NAMED, cutoff=0.4)
    named = (near + [one for one in there if one not in near])[:_MOST_NAMED]
    more = f" and {len(there) - len(named)} more" if len(there) > len(named) else ""
    return f"There are {', '.join(named)}{more}"


def _never_sure(gate: GateBlock, rows: int) -> Iterator[str]:
    """Too few rows to be so sure: the surest case is that every row is gained and none lost."""
    least = 0.5**rows  # McNemar, exact, one-sided
    if least < 1 - gate.confidence:
        return
    needed = math.floor(math.log(1 - gate.confidence) / math.log(0.5)) + 1
    yield (
        f"the gate {gate.metric} better_than {gate.better_than} can never pass: with "
        f"{rows} rows nothing is better with {gate.confidence:.0%} confidence "
        f"(p = {least:.2g} at best); it needs at least {needed} rows. Hold more rows out, or "
        "set `min` in its place"
    )
