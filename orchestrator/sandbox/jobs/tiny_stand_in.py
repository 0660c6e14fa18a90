"""A tiny random model in the place of a job's base model: the job's own scripts run on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.sandbox.jobs.conditions import condition_models
from orchestrator.sandbox.jobs.fewer_rows import with_fewer_rows
from orchestrator.sandbox.jobs.finishing import done_without
from orchestrator.sandbox.jobs.made_up_answers import made_up_answers
from orchestrator.sandbox.jobs.recipe import lightened, without_gpu
from orchestrator.sandbox.jobs.stand_in import (
    Files,
    Prepared,
    StandInFailed,
    beside,
    is_stopped,
    script_of,
    value_of,
    with_value,
    without,
)
from orchestrator.sandbox.standins import tiny_model
from orchestrator.sandbox.standins.base import StandInOptions, TrainingFailed
from orchestrator.sandbox.standins.tiny import (
    BATCH_SIZE,
    LEARNING_RATE,
    MAX_LENGTH,
    TinyStandIn,
    bases,
    last_base,
)

#: With all weights free, the rate of an adapter would be far too much.
_FULL_LEARNING_RATE = 2e-3


class TinyJobStandIn:
    """Implements `JobStandIn`; the base models are those of the Vertex face's tiny stand-in."""

    name = "tiny"

    def __init__(self, root: Path, options: StandInOptions) -> None:
        self._root = root.resolve()
        self._options = options
        self._tiny = TinyStandIn(root)

    def prepare(self, command: Sequence[str], files: Files) -> Prepared:
        """Lead `--base-model` to the tiny model, and lighten what it could not do."""
        done = done_without(command) or made_up_answers(command, self._options.answers or "good")
        if done is not None:
            return done
        asked, script = str(value_of(command, "--base-model")), str(script_of(command))
        fewer_rows = self._root / "fewer-rows"
        command, fewer = with_fewer_rows(tuple(command), files, self._options.rows, fewer_rows)
        files = beside(files, fewer_rows)
        base = self._base(command, files)
        named = value_of(command, "--base-model-name") or asked
        changed = without(command, "--base-revision")
        changed = with_value(changed, "--base-model", str(base))
        changed = with_value(changed, "--base-model-name", named)
        changed, lines = without_gpu(changed, script)
        differences = [*_about_base(base, named), *lines, *fewer]
        if script == "sft.py":
            changed, lines = self._lightened(changed)
            differences += lines
        mark = {"name": self.name, "for": named, "note": differences[0]}
        return Prepared(changed, tuple(differences), mark=mark)

    def _lightened(self, command: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
        options, layers = self._options, tiny_model.LAYERS
        mode = options.mode or {"full": "full"}.get(value_of(command, "--mode") or "", "peft")
        options = replace(
            options,
            learning_rate=options.learning_rate
            or (_FULL_LEARNING_RATE if mode == "full" else LEARNING_RATE),
            max_length=options.max_length or MAX_LENGTH,
            batch_size=options.batch_size or BATCH_SIZE,
            # More layers than there are is all of them, which is what a job without the flag asks.
            last_layers=None if (options.last_layers or 0) >= layers else options.last_layers,
        )
        asked = value_of(command, "--last-layers")
        lines = []
        if options.last_layers is None and asked is not None and _number(asked) > layers:
            command = without(command, "--last-layers")
            lines = [f"last layers: all {layers} there are instead of {asked}"]
        command, lightened_lines = lightened(command, options)
        return command, [*lightened_lines, *lines]

    def _base(self, command: Sequence[str], files: Files) -> Path:
        """The model for the rows of a training, or the one that was tuned."""
        train, rows = value_of(command, "--train"), value_of(command, "--rows")
        one = value_of(command, "--adapter")
        tuned = [one] if one is not None else condition_models(command)
        found = None
        if train is None:
            found = self._base_of(files(tuned[0])) if tuned else None
            # Before and after a training, the same model should answer.
            found = found or last_base(self._root)
        if found is not None:
            return found
        if train is None and rows is None:
            raise StandInFailed("tiny: no training was run here whose model could stand in")
        try:
            return self._tiny.base_for(files(str(train or rows)), is_stopped.get())
        except (TrainingFailed, OSError) as error:
            raise StandInFailed(
                f"tiny: the model for the rows could not be made: {error}"
            ) from error

    def _base_of(self, tuned: Path) -> Path | None:
        """The model with the same words as the tokenizer that was kept with what was tuned."""
        words = _words(tuned / "tokenizer.json")
        if words is None:
            return None
        found = (base for base in bases(self._root) if _words(base / "tokenizer.json") == words)
        return next(found, None)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _words(tokenizer: Path) -> object:
    try:
        return json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _about_base(base: Path, named: str) -> list[str]:
    parameters = json.loads((base / "made.json").read_text(encoding="utf-8"))["parameters"]
    return [
        (
            f"base model: a random {tiny_model.LAYERS}-layer model of {parameters:,} parameters"
            f" instead of {named}; what it says means nothing"
        ),
        (
            f"tokenizer: at most {tiny_model.VOCABULARY_SIZE} tokens learned from the rows,"
            " so token counts are not those of the real model"
        ),
    ]
