"""Before and after, with a stand-in: runs `generate.py` on held-out rows and scores the answers.

The same rows are answered four ways: by the untuned model without and with examples, by one
constant call, and by the tuned model. Every share comes with its 95 % interval (Wilson).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.calls import ToolCall
from orchestrator.errors import CheckFailed, InputError
from orchestrator.evaluation.routing import constant_call, score, score_constant
from orchestrator.planner import Prepared
from orchestrator.progress import SILENT, Reporter
from orchestrator.sandbox.before_and_after import BeforeAndAfter, Condition
from orchestrator.sandbox.jobs.smollm2_stand_in import THREADS
from orchestrator.sandbox.standins.short_rows import (
    SHORT_PROMPT,
    ShortRow,
    longest_answer_tokens,
    read_short_rows,
)
from orchestrator.sandbox.standins.smollm2 import MODEL_NAME, converted_model, stand_ins_folder
from orchestrator.training import generate

#: Larger batches read the weights less often; this many short rows still fit any machine.
BATCH_ROWS = 66
_LAST_LINES = 5
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


class Children:
    """Processes of our own, which end with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[str]] = []
        self._ended = False

    def run(self, command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
        """Run a command to its end: the exit code, and what it wrote to standard error."""
        with self._lock:
            if self._ended:
                return 1, "it was stopped before it began"
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
            )
            self._running.append(child)
        try:
            _, said = child.communicate()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            self._running.remove(child)
        return child.returncode, said

    def end(self) -> None:
        """Kill what runs; nothing more is begun."""
        with self._lock:
            self._ended = True
            for child in list(self._running):
                child.kill()


@dataclass(frozen=True)
class Before:
    """What the untuned model answers."""

    zero_shot: Condition
    few_shot: Condition


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
    threads: int = THREADS
    _children: Children = field(default_factory=Children)

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
        return Condition("constant", scores)

    def tuned(self, adapter: Path) -> Condition:
        """The model with an adapter, told what the untuned one was told.

        A rehearsal's adapter names the real base model, not the stand-in that it was trained on.
        """
        return self._answered("tuned", ["--adapter", str(adapter.resolve()), "--other-base"])

    def before(self) -> Before:
        """Both conditions of the untuned model, side by side: neither keeps two cores busy."""
        alone = replace(self, reporter=SILENT, threads=1)
        waiting = self.reporter.waiting("the untuned model answers the held-out rows")
        with waiting, ThreadPoolExecutor(2) as pool:
            zero_shot, few_shot = pool.submit(alone.zero_shot), pool.submit(alone.few_shot)
            try:
                return Before(zero_shot.result(), few_shot.result())
            except BaseException:
                # The pool waits for its threads, and they for these.
                self._children.end()
                raise

    def before_and_after(self, before: Before, adapter: Path) -> BeforeAndAfter:
        """What was answered before, and what the model with an adapter answers."""
        tuned, constant = self.tuned(adapter), self.constant()
        return BeforeAndAfter(MODEL_NAME, before.zero_shot, before.few_shot, constant, tuned)

    def _answered(self, name: str, arguments: Sequence[str]) -> Condition:
        rows = read_short_rows(self.held_out)
        if not rows:
            raise InputError(f"{self.held_out}: holds no rows", hint="Hold some rows out.")
        output = self.folder / name
        # A file of its own: conditions are asked side by side.
        asked = self._written(f"{name}-rows", rows)
        with self.reporter.waiting(f"{name}: {len(rows)} held-out rows are answered"):
            self._generate(rows, asked, output, arguments)
        answers = _answers(output / "predictions.jsonl", len(rows))
        return Condition(name, score(_calls(rows), answers))

    def _generate(
        self, rows: Sequence[ShortRow], asked: Path, output: Path, arguments: Sequence[str]
    ) -> None:
        command = [sys.executable, str(Path(generate.__file__))]
        command += ["--base-model", str(self.model_folder), "--base-model-name", MODEL_NAME]
        command += ["--rows", str(asked), "--output", str(output), *arguments]
        longest = longest_answer_tokens(rows, self.model_folder / "tokenizer.json")
        # Answers as long as the longest right one: what goes on behind it is wrong anyway.
        command += ["--max-new-tokens", str(longest), "--batch-size", str(BATCH_ROWS)]
        command += ["--seed", str(self.seed), "--threads", str(self.threads), "--precision", "fp32"]
        command += ["--engine", "transformers"]
        code, said = self._children.run(command, _environment(self.folder))
        if code != 0:
            last = " / ".join(said.strip().splitlines()[-_LAST_LINES:])
            raise CheckFailed(
                f"the held-out rows could not be answered: {last or 'generate.py said nothing'}",
                hint=f"What was done is in {output}.",
            )

    def _written(self, name: str, rows: Sequence[ShortRow]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = (self.folder / f"{name}.jsonl").resolve()
        lines = (json.dumps(row.to_json(self.instruction), ensure_ascii=False) for row in rows)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file


def evaluation_of(prepared: Prepared, folder: Path, reporter: Reporter) -> DemoEvaluation:
    """The evaluation of a plan with the stand-in, which is fetched and converted where needed."""
    plan = prepared.plan
    return DemoEvaluation(
        converted_model(stand_ins_folder(), reporter=reporter).folder,
        prepared.data.files["train"],
        prepared.data.files["validation"],
        folder,
        instruction=plan.spec.stand_in.short_prompt or SHORT_PROMPT,
        seed=plan.spec.seed,
        reporter=reporter,
    )


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
