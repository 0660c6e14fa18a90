"""Evaluates a tuned model from answers that are there: every way to answer, scored and judged.

Reads files and decides; asks nobody and records nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import gates
from orchestrator.answer_figures import answer_figures
from orchestrator.answer_files import AnswerRow, match, read_answers
from orchestrator.calls import Syntax
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError, Place
from orchestrator.evaluation.comparison import compare
from orchestrator.evaluation.evidence import (
    ConditionFigures,
    Difference,
    Evidence,
    Figures,
    MetricMeaning,
    SliceFigures,
)
from orchestrator.evaluation.scorers import made_for, scorer_named
from orchestrator.evaluation.scores import (
    Answered,
    RowScores,
    Scorer,
    by_slice,
    metrics_of,
)
from orchestrator.evaluation.table import causes_of, constant_answer, scored_row
from orchestrator.spec import GateBlock

#: So many causes of a way to answer are kept.
_CAUSES = 20
#: Ways to answer that need no model: what a model is worth shows beside them.
CONSTANT, MAJORITY = "constant", "majority"


@dataclass(frozen=True)
class AnswersFile:
    """The answers of one way to answer. `note` says in a line what gave them.

    `by_row`: its lines belong to the rows by number, as those of `generate.py` do; else rows are
    matched by id or prompt. `own_rows`: a stand-in may have been asked other prompts; what is
    expected is then what its lines say.
    """

    file: Path
    note: str
    by_row: bool = True
    own_rows: bool = False


@dataclass(frozen=True)
class Question:
    """All that an evaluation is made of. `answers` has `tuned` at least.

    `train` are the training rows, for the majority's answer. `training_accuracy` is the last share
    of tokens that training had right.
    """

    scorer: str
    split: str
    rows: Path
    train: Path | None
    answers: Mapping[str, AnswersFile]
    gates: tuple[GateBlock, ...] = ()
    syntax: Syntax | None = None
    nothing_published: bool = False
    #: What people gave the answers on average, where they have scored some.
    audited: Figures | None = None
    unscored_rows: int = 0
    training_accuracy: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The evidence, and every row's scores by the way to answer, which stay on this machine."""

    evidence: Evidence
    scored: Mapping[str, Sequence[RowScores]]

    def write_scores(self, file: Path) -> None:
        """Write a line for each row and way to answer, whole or not at all."""
        draft = file.with_name(f".{file.name}")
        with draft.open("w", encoding="utf-8", newline="\n") as stream:
            for condition, rows in self.scored.items():
                for row in rows:
                    parts = {name: [one.above, one.below] for name, one in row.parts.items()}
                    line = {
                        "condition": condition,
                        "key": row.key,
                        "metrics": parts,
                        "slices": dict(row.slices),
                        "causes": list(row.causes),
                    }
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        draft.replace(file)


def evaluate(question: Question) -> Evaluation:
    """Score all answers, compare the tuned model's with the others, and judge it by the gates.

    Raises `InputError` for files that are wrong, or that do not belong together.
    """
    rows = read_answers(question.rows, "expected")
    if not rows:
        raise InputError("there are no rows to evaluate on", where=Place(str(question.rows)))
    answered = {
        name: _answered(rows, given, question.rows) for name, given in question.answers.items()
    }
    tuned = answered["tuned"]
    places = {row.key: source.place for row, source in zip(tuned, rows, strict=True)}
    scorer = made_for(scorer_named(question.scorer), tuned, question.syntax, places=places)
    scored = {
        name: [scored_row(scorer, row, places) for row in rows_that_count(name, found)]
        for name, found in answered.items()
    }
    figures = [
        _figures(name, question.answers[name], scorer, answered[name], scored[name], question.seed)
        for name in answered
    ]
    # Constant answers are in the syntax of the rows, which need not be that of the model.
    of_rows = made_for(scorer_named(question.scorer), tuned) if question.syntax else scorer
    without_model = [_constant(of_rows, tuned)]
    if question.train is not None:
        # Training rows are as they were prepared; what a job expects, its model's template wrote.
        prepared = [
            replace(one, expected=row.answer or "") for one, row in zip(tuned, rows, strict=True)
        ]
        without_model += _majority(question.scorer, prepared, question.train)
    for name, note, found in without_model:
        scored[name] = found
        figures.append(_scored_figures(name, note, scorer, found, question.seed))
    verdicts = gates.judge(
        question.gates,
        scorer.metrics,
        scored,
        nothing_published=question.nothing_published,
        audited=question.audited,
        unscored_rows=question.unscored_rows,
        seed=question.seed,
    )
    tuned_answers = next(one.answers for one in figures if one.name == "tuned")
    found_alarms = (
        gates.alarms(
            scorer.metrics[0],
            scored,
            tuned_answers,
            [row.expected for row in tuned],
            question.training_accuracy,
            seed=question.seed,
        )
        if tuned_answers is not None
        else ()
    )
    evidence = Evidence(
        scorer=scorer.name,
        split=question.split,
        rows=len(rows),
        rows_sha256=sha256_file(question.rows),
        seed=question.seed,
        kinds=tuple(
            MetricMeaning(kind.name, kind.meaning, "higher" if kind.higher_is_better else "lower")
            for kind in scorer.metrics
        ),
        conditions=tuple(figures),
        comparisons=tuple(_differences(scorer, scored, question)),
        gates=verdicts,
        alarms=found_alarms,
        failed=tuple(gates.failures(verdicts, found_alarms)),
    )
    return Evaluation(evidence, scored)


def rows_that_count(name: str, rows: Sequence[Answered]) -> list[Answered]:
    """All rows of the tuned model, to which no answer is a wrong one; of others those answered.

    A rival that was cut short must not lose by it: that would pass for being better than it.
    """
    return [row for row in rows if name == "tuned" or row.predicted is not None]


def answered_rows(rows: Path, given: AnswersFile) -> tuple[Answered, ...]:
    """The rows of a file with the answers of another: what is scored, in the order of the rows."""
    return _answered(read_answers(rows, "expected"), given, rows)


def _answered(
    rows: Sequence[AnswerRow], given: AnswersFile, rows_file: Path
) -> tuple[Answered, ...]:
    """The rows with the answers of a file, in the order of the rows."""
    predicted = read_answers(given.file, "predicted")
    if not given.by_row and not (_repeat(rows) and _are_numbered(predicted)):
        return match(rows, predicted).rows
    by_number: dict[int, AnswerRow] = {}
    for line in predicted:
        if line.number is None or line.number in by_number:
            raise InputError("this line has no `row` of its own", where=line.place)
        by_number[line.number] = line
    keys = row_keys(rows)
    found = []
    for number, row in enumerate(rows):
        answer = by_number.get(number)
        expected = row.answer
        if answer is not None and row.digest and answer.digest != row.digest:
            if not given.own_rows:
                raise InputError(
                    f"this answer is not to row {number} of {rows_file}: another prompt was asked",
                    where=answer.place,
                )
            expected = answer.expected or row.answer
        if expected is None:
            raise InputError("this row does not say what is expected", where=row.place)
        about = (row.prompt, row.slices, row.tools)
        if answer is None:
            found.append(Answered(keys[number], expected, None, *about))
            continue
        measured = (answer.timing, answer.likelihood)
        found.append(Answered(keys[number], expected, answer.answer, *about, *measured))
    return tuple(found)


def _repeat(rows: Sequence[AnswerRow]) -> bool:
    """Whether two rows ask the same, so that nothing but their numbers tells them apart."""
    digests = [row.digest for row in rows if row.id is None]
    return len({*digests}) < len(digests)


def _are_numbered(predicted: Sequence[AnswerRow]) -> bool:
    return all(line.number is not None and line.digest is not None for line in predicted)


def row_keys(rows: Sequence[AnswerRow]) -> list[str]:
    """A key for every row: its id, or its prompt's digest with a number where it comes again."""
    seen: Counter[str] = Counter()
    keys = []
    for number, row in enumerate(rows):
        key = row.id or row.digest or f"row {number}"
        seen[key] += 1
        keys.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
    return keys


def _constant(scorer: Scorer, rows: Sequence[Answered]) -> tuple[str, str, list[RowScores]]:
    """The best constant answer, which has seen these rows."""
    text, scored = constant_answer(scorer, rows)
    tried = sum(row.expected == text for row in rows)
    note = f"the best constant answer, which has seen these rows: {tried} of them expect it"
    return CONSTANT, note, scored


def _majority(
    scorer: str, rows: Sequence[Answered], train: Path
) -> Iterator[tuple[str, str, list[RowScores]]]:
    """The commonest answer of the training rows, if they have any, given to every row."""
    commonest = _commonest(train)
    if commonest is not None:
        of_rows = made_for(scorer_named(scorer), rows)
        said = [of_rows.score(row.with_answer(commonest[0])) for row in rows]
        yield (
            MAJORITY,
            f"the commonest answer of the training rows, of {commonest[1]} of them",
            said,
        )


def _commonest(train: Path) -> tuple[str, int] | None:
    counts = Counter(row.answer for row in read_answers(train, "expected") if row.answer)
    if not counts:
        return None
    text = min(counts, key=lambda one: (-counts[one], one))
    return text, counts[text]


def _figures(
    name: str,
    given: AnswersFile,
    scorer: Scorer,
    rows: Sequence[Answered],
    scored: Sequence[RowScores],
    seed: int,
) -> ConditionFigures:
    found = _scored_figures(name, given.note, scorer, scored, seed)
    return replace(found, answers=answer_figures(rows, given.file))


def _scored_figures(
    name: str, note: str, scorer: Scorer, scored: Sequence[RowScores], seed: int
) -> ConditionFigures:
    return ConditionFigures(
        name=name,
        note=note,
        metrics=metrics_of(scorer, scored, seed=seed),
        slices=tuple(
            SliceFigures(part, value, len(rows), metrics_of(scorer, rows, seed=seed))
            for (part, value), rows in by_slice(scored).items()
        ),
        causes=causes_of(scored)[:_CAUSES],
    )


def _differences(
    scorer: Scorer, scored: Mapping[str, Sequence[RowScores]], question: Question
) -> list[Difference]:
    """Tuned against every other: all metrics against the base, elsewhere those that decide."""
    gated = {gate.metric for gate in question.gates} | {scorer.metrics[0].name}
    found = []
    for against, rows in scored.items():
        if against == "tuned":
            continue
        for kind in scorer.metrics:
            if against != "base" and kind.name not in gated:
                continue
            one = compare(kind, rows, scored["tuned"], seed=question.seed)
            if one is None:
                continue
            found.append(
                Difference(
                    metric=one.name,
                    against=against,
                    rows=one.rows,
                    before=one.before,
                    after=one.after,
                    difference=one.difference,
                    low=one.low,
                    high=one.high,
                    p_value=one.p_value,
                    gained=one.changes.gained if one.changes else None,
                    lost=one.changes.lost if one.changes else None,
                )
            )
    return found


def seed_of(run_id: str) -> int:
    """The seed of a run's intervals: always the same, and not that of another run."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4])
