"""The file of predictions, row by row, and beside it what they were made of (`run.json`)."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.generate_likelihood import Likelihood
    from orchestrator.training.generate_model import Answer
    from orchestrator.training.generate_prompts import Prompt, sha256_of
    from orchestrator.training.sft_events import BadInput
else:
    from generate_prompts import sha256_of
    from sft_events import BadInput

PREDICTIONS, RUN = "predictions.jsonl", "run.json"
#: What a run.json of before a setting was there has decided all the same.
_BEFORE = {"likelihood": False}
_WEIGHTS = ("*.safetensors", "*.bin", "config.json", "adapter_config.json", "tokenizer.json")


@dataclass(frozen=True)
class Header:
    """What decides the answers. Digests are of contents, so paths may differ."""

    rows_sha256: str
    base_model: str
    base_revision: str | None
    base_sha256: str | None
    adapter_sha256: str | None
    few_shot_sha256: str | None
    shots: int
    seed: int
    max_new_tokens: int
    stop: tuple[str, ...]
    engine: str
    precision: str
    likelihood: bool = False

    @classmethod
    def of(
        cls, given: argparse.Namespace, revision: str | None, engine: str, precision: str
    ) -> Header:
        """That of the arguments of `generate.py`, and of what answers by them."""
        base = Path(given.base_model)
        return cls(
            rows_sha256=sha256_of(given.rows),
            base_model=given.base_model_name,
            base_revision=revision,
            base_sha256=folder_sha256(base) if base.is_dir() else None,
            adapter_sha256=folder_sha256(given.adapter) if given.adapter else None,
            few_shot_sha256=sha256_of(given.few_shot) if given.few_shot else None,
            shots=given.shots,
            seed=given.seed,
            max_new_tokens=given.max_new_tokens,
            stop=tuple(given.stop),
            engine=engine,
            precision=precision,
            likelihood=given.likelihood,
        )

    def to_json(self) -> dict[str, Any]:
        """The header as it is written."""
        return {**asdict(self), "stop": list(self.stop)}


def folder_sha256(folder: Path) -> str:
    """A digest of the files of a model's folder that decide what it says."""
    files = {file for pattern in _WEIGHTS for file in folder.glob(pattern)}
    lines = [f"{file.name} {sha256_of(file)}\n" for file in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Record:
    """The predictions in an output folder; an interrupted run goes on after its last row."""

    def __init__(self, output: Path, header: Header, prompt_digests: Sequence[str]) -> None:
        """Raises `BadInput` if other rows, another model or other settings made what is there."""
        self._file = output / PREDICTIONS
        run = output / RUN
        self.done = 0
        if run.is_file():
            _compare(run, header)
            self.done = self._whole_rows(prompt_digests)
        elif self._file.exists():
            raise BadInput(f"--output {output}: holds {PREDICTIONS} without {RUN}: name a new one")
        else:
            output.mkdir(parents=True, exist_ok=True)
            draft = output / f".{RUN}"
            draft.write_text(json.dumps(header.to_json(), indent=2) + "\n", encoding="utf-8")
            draft.replace(run)
        self._stream: IO[str] | None = None

    def _whole_rows(self, prompt_digests: Sequence[str]) -> int:
        """How many rows are there, whole and in order; what follows them is cut off."""
        if not self._file.is_file():
            return 0
        content = self._file.read_bytes()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        for number, line in enumerate(lines):
            place = f"{self._file}:{number + 1}"
            try:
                row = json.loads(line)
                found = (row["row"], row["prompt_sha256"])
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{place}: is no prediction: {error}; name a new output") from error
            # With a lower --limit than before there may be more lines than prompts.
            if number < len(prompt_digests) and found != (number, prompt_digests[number]):
                raise BadInput(f"{place}: does not belong to row {number}; name a new output")
        if sum(map(len, lines)) < len(content):
            with self._file.open("r+b") as stream:
                stream.truncate(sum(map(len, lines)))
        return len(lines)

    def add(self, prompt: Prompt, answer: Answer, likelihood: Likelihood | None = None) -> None:
        """Append a row, with what was measured of its expected answer."""
        if self._stream is None:
            self._stream = self._file.open("a", encoding="utf-8", newline="\n")
        latency = answer.latency_s
        row = {
            "row": prompt.row,
            "prompt_sha256": prompt.sha256,
            "expected": prompt.expected,
            "predicted": answer.predicted,
            "raw": answer.raw,
            "prompt_tokens": len(prompt.ids),
            "new_tokens": len(answer.ids),
            "stopped_by": answer.stopped_by,
            "latency_s": None if latency is None else round(latency, 4),
        }
        if likelihood is not None:
            loss = likelihood.loss
            row |= {
                "expected_tokens": likelihood.tokens,
                "expected_loss": None if loss is None else round(loss, 6),
                "expected_right": likelihood.right,
            }
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        """Bring what was added to the disk."""
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """End the file."""
        if self._stream is not None:
            self.flush()
            self._stream.close()


def _compare(run: Path, header: Header) -> None:
    try:
        before = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{run}: cannot be read: {error}; name a new output") from error
    now = header.to_json()
    if isinstance(before, dict):
        before = {**_BEFORE, **before}
    other = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    if other:
        raise BadInput(
            f"{run}: the predictions there were made with other {', '.join(other)};"
            " name a new output"
        )
