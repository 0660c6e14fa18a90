"""SmolLM2 in the place of a job's base model: a small model that really learns the rows.

Rows of tool calls are given to it in the short form of `standins/short_rows.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.digests import sha256_file
from orchestrator.errors import OrchestratorError
from orchestrator.sandbox.jobs.conditions import condition_values, with_condition_values
from orchestrator.sandbox.jobs.fewer_rows import with_fewer_rows
from orchestrator.sandbox.jobs.finishing import done_without
from orchestrator.sandbox.jobs.made_up_answers import made_up_answers
from orchestrator.sandbox.jobs.recipe import lightened, without_gpu
from orchestrator.sandbox.jobs.stand_in import (
    Files,
    Prepared,
    StandInFailed,
    beside,
    script_of,
    value_of,
    with_value,
    without,
)
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.sandbox.standins.short_rows import (
    DIFFERENCES,
    SHORT_PROMPT,
    has_calls,
    longest_answer_tokens,
    read_short_rows,
    shorten,
)
from orchestrator.sandbox.standins.smollm2 import (
    MODEL_NAME,
    ConvertedModel,
    converted_model,
    stand_ins_folder,
)

#: Light enough for two cores: most of the time goes into the blocks that are not trained.
#: `benchmarks/stand_in_results.py` measures what it brings and what it takes.
LIGHT_RECIPE = StandInOptions(
    mode="peft",
    rank=16,
    last_layers=10,
    epochs=1,
    learning_rate=3e-3,
    batch_size=4,
    max_length=256,
)
#: A thread more than cores that are free costs more than it brings.
THREADS = min(2, os.cpu_count() or 1)
#: Larger batches read the weights less often; this many short rows still fit any machine.
BATCH_ROWS = 66
_ROW_FLAGS = ("--train", "--validation", "--probe", "--rows", "--few-shot")


class SmolLM2JobStandIn:
    """Implements `JobStandIn`. The converted model is shared by all rehearsals of a user."""

    name = "smollm2"

    def __init__(
        self, root: Path, options: StandInOptions, model: ConvertedModel | None = None
    ) -> None:
        self._rows = root.resolve() / "smollm2-rows"
        self._options = options
        self._model = model

    def prepare(self, command: Sequence[str], files: Files) -> Prepared:
        """Lead `--base-model` to SmolLM2, shorten the rows, and lighten the training."""
        done = done_without(command) or made_up_answers(command, self._options.answers or "real")
        if done is not None:
            return done
        asked, script = str(value_of(command, "--base-model")), str(script_of(command))
        command, fewer = with_fewer_rows(tuple(command), files, self._options.rows, self._rows)
        files = beside(files, self._rows)
        try:
            model = self._model = self._model or converted_model(stand_ins_folder())
            changed, differences = self._on_model(tuple(command), model, asked)
            changed, lines = without_gpu(changed, script)
            differences += [*lines, *fewer]
            if script == "generate.py":
                changed, lines = _cut(changed, files, model)
                differences += lines
                changed = with_value(changed, "--batch-size", str(BATCH_ROWS))
            if script in ("sft.py", "generate.py"):
                changed, lines = self._on_short_rows(changed, files)
                differences += lines
                changed = with_value(changed, "--threads", str(THREADS))
        except (OrchestratorError, OSError) as error:
            raise StandInFailed(f"smollm2: {error}") from error
        if script == "sft.py":
            changed, lines = lightened(changed, _filled(self._options))
            differences += lines
        named = str(value_of(changed, "--base-model-name"))
        mark = {"name": self.name, "for": named, "note": differences[0]}
        return Prepared(changed, tuple(differences), mark=mark)

    def _on_model(
        self, command: tuple[str, ...], model: ConvertedModel, asked: str
    ) -> tuple[tuple[str, ...], list[str]]:
        named = value_of(command, "--base-model-name") or asked
        changed = without(command, "--base-revision")
        changed = with_value(changed, "--base-model", str(model.folder))
        changed = with_value(changed, "--base-model-name", named)
        line = (
            f"base model: {MODEL_NAME} ({model.parameters:,} parameters, weights from 4 bits)"
            f" instead of {named}; its figures are not those of the real model"
        )
        return changed, [line]

    def _on_short_rows(
        self, command: tuple[str, ...], files: Files
    ) -> tuple[tuple[str, ...], list[str]]:
        """The command with its files of rows in their short form, if they hold calls."""
        before = command
        for flag in _ROW_FLAGS:
            given = value_of(command, flag)
            if given is not None and has_calls(files(given)):
                command = with_value(command, flag, self._short(files(given)))
        if any(has_calls(files(given)) for given in condition_values(command, "shots")):
            command = with_condition_values(command, "shots", lambda one: self._short(files(one)))
        if command == before:
            return command, []
        if value_of(command, "--answer-syntax") not in (None, "none"):
            command = with_value(command, "--answer-syntax", "json")
        return command, list(DIFFERENCES)

    def _short(self, rows: Path) -> str:
        """The short form of a file of calls."""
        self._rows.mkdir(parents=True, exist_ok=True)
        target = self._rows / f"{sha256_file(rows)}.jsonl"
        shorten(rows, target, self._options.short_prompt or SHORT_PROMPT)
        return str(target)


def _cut(
    command: tuple[str, ...], files: Files, model: ConvertedModel
) -> tuple[tuple[str, ...], list[str]]:
    """The command with no longer answers than the right ones are, where these are short rows."""
    rows, asked = value_of(command, "--rows"), value_of(command, "--max-new-tokens")
    if rows is None or not has_calls(files(rows)):
        return command, []
    longest = longest_answer_tokens(read_short_rows(files(rows)), model.folder / "tokenizer.json")
    line = f"answers: at most {longest} tokens, as many as the longest right one has"
    if asked is not None:
        line += f", instead of {asked}"
    return with_value(command, "--max-new-tokens", str(longest)), [line]


def _filled(options: StandInOptions) -> StandInOptions:
    """The options, and the light recipe where they say nothing."""
    names = ("mode", "last_layers", "epochs", "learning_rate", "batch_size", "max_length")
    light = {name: getattr(LIGHT_RECIPE, name) for name in names if getattr(options, name) is None}
    filled = replace(options, **light)
    # All weights have no rank.
    return replace(filled, rank=None if filled.mode == "full" else filled.rank or LIGHT_RECIPE.rank)
