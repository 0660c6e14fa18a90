"""Before and after, with a stand-in: runs `generate.py` on held-out rows and scores the answers.

The same rows are answered four ways: by the untuned model without and with examples, by one
constant call, and by the tuned model. Every share comes with its 95 % interval (Wilson).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.calls import ToolCall
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import CheckFailed, InputError
from orchestrator.evaluation.intervals import Paired, Share, paired
from orchestrator.evaluation.routing import RoutingScores, constant_call, score, score_constant
from orchestrator.planner import Prepared
from orchestrator.progress import SILENT, Reporter
from orchestrator.sandbox.jobs.smollm2_stand_in import MAX_NEW_TOKENS, THREADS
from orchestrator.sandbox.rehearsal import Rehearsal
from orchestrator.sandbox.standins.short_rows import SHORT_PROMPT, ShortRow, read_short_rows
from orchestrator.sandbox.standins.smollm2 import MODEL_NAME, converted_model, stand_ins_folder
from orchestrator.training import sft

#: Larger batches read the weights less often; this many short rows still fit any machine.
BATCH_ROWS = 33
_LAST_LINES = 5
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Condition:
    """One way to answer the held-out rows, and what came of it; `seconds` of wall clock."""

    name: str
    scores: RoutingScores
    seconds: float


@dataclass(frozen=True)
class BeforeAndAfter:
    """All ways to answer the same held-out rows: three without the tuning, and the tuned model."""

    stand_in: str
    zero_shot: Condition
    few_shot: Condition
    constant: Condition
    tuned: Condition

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """In the order in which they are shown."""
        return (self.zero_shot, self.few_shot, self.constant, self.tuned)

    @property
    def change(self) -> Paired:
        """Which rows the tuning made exactly right or wrong, against the untuned model."""
        before, after = self.zero_shot.scores.rows, self.tuned.scores.rows
        return paired([row.exact for row in before], [row.exact for row in after])

    def lines(self) -> tuple[str, ...]:
        """The tables for people, a line each."""
        return (*_whole_table(self), "", *_agents_table(self))

    def to_json(self) -> dict[str, Any]:
        """The figures as data."""
        return {
            "stand_in": self.stand_in,
            "rows": self.tuned.scores.agent.rows,
            "conditions": {one.name: _figures(one) for one in self.conditions},
            "gained": self.change.gained,
            "lost": self.change.lost,
            "p_value": self.change.p_value,
        }


@dataclass(frozen=True)
class DemoEvaluation:
    """Answers held-out rows with a model in `model_folder`; `folder` keeps what was said.

    `train` and `held_out` are prepared rows (prompt/completion with one tool call).
    """

    model_folder: Path
    train: Path
    held_out: Path
    folder: Path
    instruction: str = SHORT_PROMPT
    seed: int = 42
    reporter: Reporter = SILENT
    clock: Clock = SYSTEM_CLOCK

    def zero_shot(self) -> Condition:
        """The untuned model, told what to do but shown nothing."""
        return self._answered("zero-shot", [])

    def few_shot(self) -> Condition:
        """The untuned model, shown one training row of every agent."""
        file = self._written("shots", _one_of_each(read_short_rows(self.train)))
        count = len(file.read_text(encoding="utf-8").splitlines())
        return self._answered("few-shot", ["--few-shot", str(file), "--shots", str(count)])

    def constant(self) -> Condition:
        """The commonest call of the training rows, whatever is asked."""
        given = constant_call(_calls(read_short_rows(self.train)))
        scores = score_constant(_calls(read_short_rows(self.held_out)), given)
        return Condition("constant", scores, 0.0)

    def tuned(self, adapter: Path) -> Condition:
        """The model with an adapter, told what the untuned one was told."""
        return self._answered("tuned", ["--adapter", str(adapter.resolve())])

    def before_and_after(self, adapter: Path) -> BeforeAndAfter:
        """All four conditions, one after the other."""
        return BeforeAndAfter(
            MODEL_NAME, self.zero_shot(), self.few_shot(), self.constant(), self.tuned(adapter)
        )

    def _answered(self, name: str, arguments: Sequence[str]) -> Condition:
        rows = read_short_rows(self.held_out)
        if not rows:
            raise InputError(f"{self.held_out}: holds no rows", hint="Hold some rows out.")
        started_s = self.clock.elapsed_s()
        output = self.folder / name
        with self.reporter.waiting(f"{name}: {len(rows)} held-out rows are answered"):
            self._generate(self._written("held-out", rows), output, arguments)
        answers = _answers(output / "predictions.jsonl", len(rows))
        return Condition(name, score(_calls(rows), answers), self.clock.elapsed_s() - started_s)

    def _generate(self, rows: Path, output: Path, arguments: Sequence[str]) -> None:
        command = [sys.executable, str(Path(sft.__file__).with_name("generate.py"))]
        command += ["--base-model", str(self.model_folder), "--base-model-name", MODEL_NAME]
        command += ["--rows", str(rows), "--output", str(output), *arguments]
        command += ["--max-new-tokens", str(MAX_NEW_TOKENS), "--batch-size", str(BATCH_ROWS)]
        command += ["--seed", str(self.seed), "--threads", str(THREADS), "--precision", "fp32"]
        command += ["--engine", "transformers"]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(self.folder),
            check=False,
        )
        if done.returncode != 0:
            said = " / ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise CheckFailed(
                f"the held-out rows could not be answered: {said or 'generate.py said nothing'}",
                hint=f"What was done is in {output}.",
            )

    def _written(self, name: str, rows: Sequence[ShortRow]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = (self.folder / f"{name}.jsonl").resolve()
        lines = (json.dumps(row.to_json(self.instruction), ensure_ascii=False) for row in rows)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file


def fetch_model(reporter: Reporter) -> None:
    """Have the stand-in's model at hand before a sandbox starts; see `converted_model`."""
    converted_model(stand_ins_folder(), reporter=reporter)


def answer_held_out(result: Rehearsal, prepared: Prepared, reporter: Reporter) -> BeforeAndAfter:
    """What the stand-in answers to the held-out rows, before the training and after it."""
    model = converted_model(stand_ins_folder(), reporter=reporter)
    plan = prepared.plan
    evaluation = DemoEvaluation(
        model.folder,
        prepared.data.files["train"],
        prepared.data.files["validation"],
        result.folder / "answers",
        instruction=plan.spec.stand_in.short_prompt or SHORT_PROMPT,
        seed=plan.spec.seed,
        reporter=reporter,
    )
    return evaluation.before_and_after(result.adapter_folder)


def _one_of_each(rows: Sequence[ShortRow]) -> tuple[ShortRow, ...]:
    """The first row of every agent, in the order of the file."""
    first: dict[str, ShortRow] = {}
    for row in rows:
        first.setdefault(row.agent, row)
    return tuple(first.values())


def _calls(rows: Sequence[ShortRow]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(row.agent, row.arguments) for row in rows)


def _answers(predictions: Path, count: int) -> tuple[str, ...]:
    lines = predictions.read_text(encoding="utf-8").splitlines()
    said = sorted((json.loads(line) for line in lines), key=lambda one: int(one["row"]))
    if len(said) != count:
        raise CheckFailed(
            f"{predictions} has {len(said)} answers to {count} rows", hint="Remove it; run again."
        )
    return tuple(str(one["predicted"]) for one in said)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _told(share: Share) -> str:
    low, high = share.interval
    counts = f"{share.right}/{share.rows}"
    return f"{counts:>7} {share.value:6.1%} [{low:4.0%}, {high:4.0%}]"


def _whole_table(result: BeforeAndAfter) -> list[str]:
    width = len(_told(result.tuned.scores.agent))
    lines = [
        f"{result.tuned.scores.agent.rows} held-out rows, {result.stand_in}, 95 % intervals",
        f"  {'':<10} {'agent right':<{width}}  {'call exact':<{width}}  seconds",
    ]
    for one in result.conditions:
        agent, exact = _told(one.scores.agent), _told(one.scores.exact)
        lines.append(f"  {one.name:<10} {agent}  {exact}  {one.seconds:7.1f}")
    change = result.change
    lines.append(
        f"  exact calls gained {change.gained}, lost {change.lost}"
        f" (McNemar, exact: p = {change.p_value:.2g})"
    )
    return lines


def _agents_table(result: BeforeAndAfter) -> list[str]:
    width = max(len(name) for name, _, _ in result.tuned.scores.by_agent)
    lines = [f"  {'by agent':<{width}}  agent: zero-shot → few-shot → tuned; exact: the same"]
    shown = (result.zero_shot, result.few_shot, result.tuned)
    for number, (name, share, _) in enumerate(result.tuned.scores.by_agent):
        parts = [one.scores.by_agent[number] for one in shown]
        agent = " → ".join(str(part[1].right) for part in parts)
        exact = " → ".join(str(part[2].right) for part in parts)
        lines.append(f"  {name:<{width}}  {agent}; {exact} of {share.rows}")
    return lines


def _figures(condition: Condition) -> dict[str, Any]:
    scores = condition.scores
    return {
        "parsed": _share(scores.parsed),
        "agent": _share(scores.agent),
        "exact": _share(scores.exact),
        "by_agent": {
            name: {"agent": _share(agent), "exact": _share(exact)}
            for name, agent, exact in scores.by_agent
        },
        "seconds": round(condition.seconds, 1),
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"right": share.right, "rows": share.rows, "interval": [round(low, 4), round(high, 4)]}
