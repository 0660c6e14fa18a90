"""Evaluated runs in a real ledger, with their answers on this machine."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.answer_files import prompt_sha256
from orchestrator.cli import run as orchestrator
from orchestrator.digests import sha256_file
from orchestrator.evaluator import AnswersFile, Question, evaluate
from orchestrator.ledger import Artifact, Facts, Ledger, Target
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from tests.manual_clock import ManualClock
from tests.plans import router_plan

TARGET = Target("vertex", "project", "us-central1", "gs://bucket", "me/adapter")
LEVELS = ("easy", "hard")


@functools.cache
def _plan() -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        return router_plan(Path(folder)).plan


def write(file: Path, lines: Iterable[object]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def prompt(row: int) -> str:
    return f"What is {row} + {row}?"


def key(row: int) -> str:
    return prompt_sha256(prompt(row))


def right(row: int) -> str:
    return f"It is {2 * row}."


def rows_of(rows: Iterable[int], **changed: str) -> list[dict[str, str]]:
    return [
        {"prompt": prompt(row), "completion": right(row), "difficulty": LEVELS[row % 2], **changed}
        for row in rows
    ]


def answers_of(rows: Sequence[int], wrong: Iterable[int] = (), text: str = "No idea.") -> list[Any]:
    """What `generate.py` writes, wrong for some rows."""
    missed = set(wrong)
    return [
        {
            "row": number,
            "prompt_sha256": key(row),
            "expected": right(row),
            "predicted": text if row in missed else right(row),
        }
        for number, row in enumerate(rows)
    ]


@dataclass
class Stage:
    """A ledger where the commands find it."""

    home: Path
    ledger: Ledger
    clock: ManualClock
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = orchestrator([str(one) for one in arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def json(self) -> Any:
        return json.loads(self.out)

    def folder(self, run: str) -> Path:
        return self.home / "runs" / run

    def facts(self, run: str) -> Facts:
        return self.ledger.facts(run)

    def ledger_text(self, run: str) -> str:
        """All that the ledger says of the run since its evaluation."""
        return json.dumps([[one.kind, dict(one.data)] for one in self.facts(run).events])

    def evaluated(
        self,
        rows: Sequence[int] = range(20),
        *,
        scorer: str = "text",
        expected: Sequence[dict[str, str]] | None = None,
        state: AttemptState = AttemptState.SUCCEEDED,
        **answers: list[Any],
    ) -> str:
        """A run that was trained and evaluated on these rows, by answers of each condition."""
        self.clock.advance(3600)
        data = self.home / "data"
        data.mkdir(exist_ok=True)
        run = self.ledger.add_run(_plan(), TARGET, data, again=True).id
        write(self.folder(run) / "evaluation.jsonl", expected or rows_of(rows))
        with self.ledger.lease(run) as lease:
            assert lease is not None
            now = self.clock.now()
            lease.add_event("staged")
            attempt = lease.record_intent(
                kind=AttemptKind.TUNE, ordinal=1, token=f"orc-{run}", deadline_at=now
            )
            lease.record_handle(attempt, Handle("vertex", f"jobs/{run}"), adopted=False)
            ended = Snapshot(state, f"JOB_STATE_{state}", now, now, now)
            lease.record_snapshot(attempt, ended)
        self.answer(run, **(answers or {"tuned": answers_of(rows, wrong=[1, 2, 3, 4])}))
        self.evaluate(run, scorer=scorer)
        return run

    def answer(self, run: str, **answers: list[Any]) -> None:
        artifacts = []
        for name, lines in answers.items():
            file = write(self.folder(run) / "answers" / f"{name}.jsonl", lines)
            artifacts.append(
                Artifact("answers", name, f"there/{name}", file.stat().st_size, sha256_file(file))
            )
        tune = self.facts(run).tune
        assert tune is not None
        with self.ledger.lease(run) as lease:
            assert lease is not None
            lease.record_artifacts(artifacts, "produced", {}, tune.id)

    def evaluate(self, run: str, *, scorer: str = "text") -> None:
        facts, folder = self.facts(run), self.folder(run)
        assert facts.tune is not None
        files = {
            name: AnswersFile(folder / "answers" / f"{name}.jsonl", f"the {name} of the test")
            for name in facts.artifacts_of("answers")
        }
        done = evaluate(Question(scorer, "test", folder / "evaluation.jsonl", None, files))
        done.write_scores(folder / "answers" / "scores.jsonl")
        self.event(run, "evaluated", done.evidence.to_json())

    def event(self, run: str, kind: str, data: dict[str, Any]) -> None:
        tune = self.facts(run).tune
        with self.ledger.lease(run) as lease:
            assert lease is not None
            lease.add_event(kind, data, tune.id if tune else None)


def new_stage(capsys: pytest.CaptureFixture[str]) -> Stage:
    home = Path(os.environ["ORCHESTRATOR_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    clock = ManualClock()
    return Stage(home, Ledger(f"sqlite:///{home / 'ledger.db'}", clock), clock, capsys)
