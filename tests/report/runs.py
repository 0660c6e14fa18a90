"""Runs in a real ledger, with events of every shape that the report shows."""

from __future__ import annotations

import functools
import json
import math
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.answer_files import prompt_sha256
from orchestrator.evaluation.evidence import (
    Alarm,
    AnswerFigures,
    CauseCount,
    ConditionFigures,
    Difference,
    Evidence,
    Figures,
    GateVerdict,
    MetricMeaning,
    SliceFigures,
)
from orchestrator.ledger import Facts, Ledger, Metric, RunFacts, Target
from orchestrator.plan import Plan
from orchestrator.report.run_report import RunReport, run_report
from orchestrator.report.views import view
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from tests.manual_clock import ManualClock
from tests.plans import router_plan

TARGET = Target("vertex", "project", "us-central1", "gs://bucket", "me/adapter")
METRIC = "exact_tool_sequence"
ARCHETYPES = ("code-first", "four-step", "math-first", "one-step")
#: What is right in a row of the synthetic evaluation: with the base model, and with the tuned one.
Outcome = tuple[bool, bool]


def plan_text(row: int, *tools: str) -> str:
    """An answer of a router."""
    steps = [
        {"agent": tool, "task": f"part {number} of row {row}"} for number, tool in enumerate(tools)
    ]
    return json.dumps({"plan": steps, "todo": [f"answer row {row}"]})


def outcomes(rows: int = 40) -> list[Outcome]:
    """Most rows gained, some lost, some still wrong: the second archetype is weak."""
    found = []
    for row in range(rows):
        weak = row % len(ARCHETYPES) == 1
        found.append((row % 3 == 0, (row % 5 == 0) if weak else row % 11 != 4))
    return found


def figures(name: str, right: int, rows: int) -> Figures:
    """A share with Wilson's interval."""
    z, share = 1.96, right / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    spread = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    spread /= 1 + z * z / rows
    return Figures(name, share, max(0.0, middle - spread), min(1.0, middle + spread), rows)


def condition(name: str, right: Sequence[bool], *, cause: str = "") -> ConditionFigures:
    """One way to answer, with its slices."""
    slices = []
    for number, archetype in enumerate(ARCHETYPES):
        part = right[number :: len(ARCHETYPES)]
        if part:
            slices.append(
                SliceFigures(
                    "archetype", archetype, len(part), (figures(METRIC, sum(part), len(part)),)
                )
            )
    wrong = [row for row, is_right in enumerate(right) if not is_right]
    causes = (CauseCount(cause, len(wrong), key_of(wrong[0])),) if cause and wrong else ()
    answers = AnswerFigures(len(right), 0, 0, len(right), 1, 2, 120.5, 0.41, 1.2)
    return ConditionFigures(
        name,
        f"the {name} of the test",
        (figures(METRIC, sum(right), len(right)), figures("tool_recall", sum(right), len(right))),
        tuple(slices),
        causes,
        answers,
    )


@functools.cache
def router() -> Plan:
    """The plan of every run here: making one takes longer than all that is tested with it."""
    with tempfile.TemporaryDirectory() as folder:
        return router_plan(Path(folder)).plan


def prompt_of(row: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is asked in row {row}?"}]


def key_of(row: int) -> str:
    return prompt_sha256(prompt_of(row))


def evidence(found: Sequence[Outcome], **changes: Any) -> Evidence:
    """The evaluation of rows with such outcomes."""
    base, tuned = [b for b, _ in found], [t for _, t in found]
    rows = len(found)
    gained = sum(t and not b for b, t in found)
    lost = sum(b and not t for b, t in found)
    value = figures(METRIC, sum(tuned), rows)
    values: dict[str, Any] = {
        "scorer": "route-plan",
        "split": "test",
        "rows": rows,
        "rows_sha256": "0" * 64,
        "seed": 7,
        "kinds": (
            MetricMeaning(METRIC, "the tools in their order", "higher"),
            MetricMeaning("tool_recall", "expected tools that were named", "higher"),
        ),
        "conditions": (
            condition("tuned", tuned, cause="tool missing: /math"),
            condition("base", base, cause="no JSON"),
            condition("constant", [row % 7 == 0 for row in range(rows)]),
        ),
        "comparisons": (
            Difference(
                METRIC,
                "base",
                rows,
                sum(base) / rows,
                sum(tuned) / rows,
                (sum(tuned) - sum(base)) / rows,
                0.2,
                0.5,
                0.001,
                gained,
                lost,
            ),
        ),
        "gates": (
            GateVerdict(
                METRIC,
                True,
                "0.8 is at least 0.7",
                min=0.7,
                value=value.value,
                low=value.low,
                high=value.high,
                rows=rows,
            ),
            GateVerdict(
                METRIC,
                False,
                "0.2 is not at least 0.5",
                ("archetype", "four-step"),
                min=0.5,
                value=0.2,
                low=0.06,
                high=0.51,
                rows=10,
            ),
        ),
        "alarms": (Alarm("alike", "half of the answers are one and the same"),),
        "failed": ("archetype: four-step",),
    }
    return Evidence(**{**values, **changes})


def training(steps: int = 60) -> list[Metric]:
    """Curves as a trainer logs them: the validation loss rises at the end."""
    points = []
    for step in range(1, steps + 1):
        epoch = 3 * step / steps
        points += [
            Metric("loss", step, 0.3 + 1.9 * math.exp(-step / 18) + 0.03 * math.sin(step), epoch),
            Metric("learning_rate", step, 2e-4 * (1 - step / steps), epoch),
            Metric("mean_token_accuracy", step, 0.95 - 0.4 * math.exp(-step / 20), epoch),
            Metric("grad_norm", step, 1 + math.exp(-step / 9), epoch),
        ]
    for number, value in enumerate((0.95, 0.61, 0.72), 1):
        points.append(Metric("eval_loss", number * steps // 3, value, float(number)))
    return points


class Runs:
    """A ledger with runs, and the folders of their answers."""

    def __init__(self, folder: Path, clock: ManualClock, *, home: Path | None = None) -> None:
        self.folder = folder
        self.clock = clock
        self.home = home or folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(f"sqlite:///{self.home / 'ledger.db'}", clock)

    def add(self) -> RunFacts:
        """One more run, of which nothing is known yet."""
        self.clock.advance(3600)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return self.ledger.add_run(router(), TARGET, data, again=True)

    def tune(
        self,
        run: RunFacts,
        state: AttemptState = AttemptState.SUCCEEDED,
        *,
        points: Sequence[Metric] = (),
        error: str | None = None,
    ) -> None:
        """Launch the job of a run, with what its service says of it."""
        now = self.clock.now()
        with self.ledger.lease(run.id) as lease:
            assert lease is not None
            lease.add_event("staged")
            attempt = lease.record_intent(
                kind=AttemptKind.TUNE, ordinal=1, token=f"orc-{run.id}", deadline_at=now
            )
            lease.record_handle(attempt, Handle("vertex", f"jobs/{run.id}"), adopted=False)
            ended = now + timedelta(seconds=754) if state.is_final else None
            lease.record_snapshot(
                attempt,
                Snapshot(state, f"JOB_STATE_{state}", now, now, ended, error=error),
            )
            lease.record_metrics(attempt, points)

    def event(self, run: RunFacts, kind: str, data: dict[str, Any]) -> None:
        """Record an event."""
        with self.ledger.lease(run.id) as lease:
            assert lease is not None
            lease.add_event(kind, data)

    def answers(self, run: RunFacts, found: Sequence[Outcome], *, evil: str = "") -> None:
        """Leave the answers and scores of an evaluation in the run's folder, and its rows."""
        folder = self.home / "runs" / run.id / "answers"
        folder.mkdir(parents=True)
        said: dict[str, list[dict[str, Any]]] = {"base": [], "tuned": []}
        scores: list[dict[str, Any]] = []
        for row, both in enumerate(found):
            expected = plan_text(row, "/code", "/math", "/general-search")
            wrong = plan_text(row, "/code", "/general-search") + evil
            for name, is_right in zip(said, both, strict=True):
                answer = expected if is_right else wrong if name == "tuned" else f"Sure! {row}"
                causes = (
                    [] if is_right else ["tool missing: /math" if name == "tuned" else "no JSON"]
                )
                said[name].append(
                    {
                        "row": row,
                        "prompt_sha256": key_of(row),
                        "expected": expected,
                        "predicted": answer,
                        "raw": answer,
                        "stopped_by": "eos",
                    }
                )
                scores.append(
                    {
                        "condition": name,
                        "key": key_of(row),
                        "metrics": {METRIC: [float(is_right), 1.0], "tool_recall": [2.0, 3.0]},
                        "slices": {"archetype": ARCHETYPES[row % len(ARCHETYPES)]},
                        "causes": causes,
                    }
                )
        for name, lines in said.items():
            write_lines(folder / f"{name}.jsonl", lines)
        write_lines(folder / "scores.jsonl", scores)
        rows = [{"prompt": prompt_of(row), "completion": "x"} for row in range(len(found))]
        write_lines(Path(run.data_folder) / "test.jsonl", rows)

    def facts(self, run: RunFacts) -> Facts:
        return self.ledger.facts(run.id)

    def report(self, run: RunFacts, *, examples: int = 3) -> RunReport:
        """What the page of a run shows."""
        metrics = self.ledger.metrics(run.id)
        found = view(self.facts(run), metrics, self.clock.now())
        return run_report(found, metrics, self.home / "runs" / run.id, examples=examples)

    def evaluated(self, *, rows: int = 40, evil: str = "", **changes: Any) -> RunFacts:
        """A run that was trained and evaluated, with its answers on this machine."""
        run, found = self.add(), outcomes(rows)
        self.tune(run, points=training())
        self.event(run, "evaluated", evidence(found, **changes).to_json())
        self.answers(run, found, evil=evil)
        return run

    def close(self) -> None:
        self.ledger.close()


def write_lines(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    """A file of JSON lines."""
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
