"""People and judge models score answers of an evaluated run: answers are drawn, scores recorded.

The ledger gets keys and scores. Answers and reviewers' notes, which may repeat them, stay in the
run's folder on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import audit_facts, audit_notes, run_answers
from orchestrator.answering.asking import OnProgress
from orchestrator.answering.endpoint import Asking, Endpoint
from orchestrator.audit_facts import Sample
from orchestrator.audit_files import AuditRow, need_free, read_filled, write_sample
from orchestrator.clock import Clock
from orchestrator.errors import InputError, LedgerError
from orchestrator.evaluation import audit_sampling
from orchestrator.evaluation.judging import Judged, ToJudge
from orchestrator.evaluation.rubric import ANSWER_QUALITY
from orchestrator.evaluation.scores import Answered
from orchestrator.ledger import Facts, Ledger
from orchestrator.state import Action, status

RUBRIC = ANSWER_QUALITY
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Drawn:
    """A sample and its answers, in the sample's order, of `of` rows."""

    sample: Sample
    rows: tuple[Answered, ...]
    of: int


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a reviewer: `scored` rows of `of`; `replaced` says that some were."""

    sample: Sample
    reviewer: str
    scored: int
    of: int
    replaced: bool


class Audits:
    """The audits of the runs of one ledger; `folder` below is that of the run's files."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def draw(self, run_id: str, folder: Path, *, count: int, seed: int, condition: str) -> Drawn:
        """Draw answers by a seed: the same ones whenever and by whomever they are drawn."""
        facts = self._ledger.facts(run_id)
        rows = {row.key: row for row in run_answers.answered(facts, folder, condition)}
        kind = run_answers.kinds_of(run_answers.evidence_of(facts))[0]
        scored = run_answers.scored(facts, folder, condition)
        groups = audit_sampling.groups(kind, [one for one in scored if one.key in rows])
        keys = audit_sampling.draw(groups, count, seed=seed)
        digest = str(audit_facts.present_answers(facts, condition))
        named = json.dumps([run_id, condition, digest, RUBRIC.name, keys])
        # With a letter in front: of digits, or digits and an e, spreadsheets make a number.
        sample_id = f"s{hashlib.sha256(named.encode()).hexdigest()[:11]}"
        sample = Sample(sample_id, condition, seed, keys, RUBRIC.name, digest)
        return Drawn(sample, tuple(rows[key] for key in keys), len(rows))

    def write(self, run_id: str, drawn: Drawn, file: Path, *, blind: bool) -> int:
        """Write a sample to be scored, and record what was drawn; gives the cells Excel cuts."""
        need_free(file)
        rows = [
            AuditRow(
                number,
                row.prompt,
                None if blind else row.expected,
                row.predicted,
                row.key,
                drawn.sample.id,
            )
            for number, row in enumerate(drawn.rows, 1)
        ]

        def event(facts: Facts) -> dict[str, Any] | None:
            known = drawn.sample.id in audit_facts.samples(facts)
            return None if known else drawn.sample.to_json()

        self._record(run_id, audit_facts.SAMPLED, event)
        return write_sample(file, rows, RUBRIC)

    def record(
        self, run_id: str, folder: Path, file: Path, *, reviewer: str, replace: bool
    ) -> Recorded:
        """Record a reviewer's scores from a file. Raises `InputError` with all that is wrong."""
        reviewer = _checked_name(reviewer)
        samples = self._samples(run_id)
        rows = read_filled(file, RUBRIC, {one.id: one.keys for one in samples.values()})
        sample = samples[rows[0].sample]
        given = [row for row in rows if row.score is not None]
        replaced = False

        def event(facts: Facts) -> dict[str, Any]:
            nonlocal replaced, reviewer
            if sample.id not in audit_facts.samples(facts):
                raise InputError("the answers were replaced meanwhile: draw a new sample")
            known = {one.who for one in audit_facts.audits(facts, sample.condition)}
            # Else one who writes the name otherwise would agree with himself.
            reviewer = next((one for one in known if _same(one, reviewer)), reviewer)
            replaced = reviewer in known
            if replaced and not replace:
                raise InputError(
                    f"{reviewer} has scored answers of run {run_id} already",
                    hint="To put these scores in the place of those: --replace.",
                )
            return {
                "reviewer": reviewer,
                "scores": [{"key": row.key, "score": row.score} for row in given],
                "rubric": sample.rubric,
                "condition": sample.condition,
                "sample": sample.id,
                "answers_sha256": sample.answers_sha256,
            }

        self._record(run_id, audit_facts.AUDITED, event)
        notes = {row.key: row.note for row in given if row.note}
        audit_notes.keep(folder, sample.condition, reviewer, notes)
        return Recorded(sample, reviewer, len(given), len(sample.keys), replaced)

    def judge(
        self,
        run_id: str,
        drawn: Drawn,
        folder: Path,
        endpoint: Endpoint,
        asking: Asking,
        *,
        environment: Mapping[str, str] = os.environ,
        on_progress: OnProgress | None = None,
    ) -> Judged:
        """Let a model score drawn answers by the same rubric, and record its scores.

        What it said is kept in the run's folder: asked again, the same question costs nothing.
        """
        from orchestrator.answering.judge import judge_rows

        rows = [ToJudge(row.key, row.prompt, row.expected, row.predicted) for row in drawn.rows]
        kept = folder / "audits"
        kept.mkdir(parents=True, exist_ok=True)
        judged = judge_rows(
            rows,
            endpoint,
            kept / "judge.jsonl",
            rubric=RUBRIC,
            asking=asking,
            environment=environment,
            clock=self._clock,
            on_progress=on_progress,
        )
        data = {
            **judged.to_json(),
            "condition": drawn.sample.condition,
            "sample": drawn.sample.id,
            "answers_sha256": drawn.sample.answers_sha256,
        }
        self._record(run_id, audit_facts.JUDGED, lambda _: data)
        return judged

    def _samples(self, run_id: str) -> dict[str, Sample]:
        samples = audit_facts.samples(self._ledger.facts(run_id))
        if not samples:
            raise InputError(
                f"no answers of run {run_id} were drawn, or they were replaced since",
                hint=f"Draw some: orchestrator audit sample {run_id}",
            )
        return samples

    def _record(
        self, run_id: str, kind: str, event: Callable[[Facts], Mapping[str, Any] | None]
    ) -> None:
        """Record what `event` makes of the facts, under the run's lease; nothing if it is None."""
        with self._ledger.lease(run_id) as lease:
            if lease is None:
                raise LedgerError(
                    f"another pass works on run {run_id}", hint="Try again in a minute."
                )
            facts = self._ledger.facts(run_id)
            # Whatever comes of it: an ended run must not come back into every poll.
            lease.finished = status(facts, self._clock.now()).action is Action.DONE
            data = event(facts)
            if data is not None:
                lease.add_event(kind, data, facts.tune.id if facts.tune else None)


def _checked_name(name: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(
            "the reviewer's name is empty, too long, or holds what cannot be shown",
            hint=f"Give one of at most {_LONGEST_NAME} characters: --reviewer NAME.",
        )
    return name


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
