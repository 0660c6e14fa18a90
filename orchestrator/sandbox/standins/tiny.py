"""A stand-in that really trains: the package's own script, on a tiny random base model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import training
from orchestrator.digests import sha256_file
from orchestrator.sandbox.standins import tiny_model
from orchestrator.sandbox.standins.base import (
    StandInOptions,
    TrainingFailed,
    TrainingJob,
    TrainingOutcome,
)
from orchestrator.sandbox.standins.layout import Layout, arrange, log_file, mark

#: What a random model learns something with in seconds on two cores.
LEARNING_RATE = 1e-2
MAX_LENGTH = 1024
BATCH_SIZE = 4

#: Found as a file: what stands in without training works where it is gone.
SCRIPT = Path(str(training.__file__)).with_name("sft.py")
NOTE = f"a random model of {tiny_model.LAYERS} layers was trained in its place"
#: One base for all seeds, so that trainings with several can be compared.
_BASE_SEED = 0
_MADE = "made.json"
_LAST = "last"
_POLL_S = 0.2
_STOP_S = 5.0
_LAST_LINES = 5
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


class _Cancelled(Exception):
    """Somebody cancelled while a process was running."""


@dataclass(frozen=True)
class _Settings:
    """What the training is really run with."""

    learning_rate: float
    epochs: int
    max_length: int
    batch_size: int


class TinyStandIn:
    """Trains in processes of their own; `root/tiny/` keeps the base models."""

    name = "tiny"

    def __init__(
        self, root: Path, python: str = sys.executable, layout: Layout = Layout.FINAL
    ) -> None:
        # The scripts run in a folder of their own, where a relative path would mean another file.
        self._root = root.resolve()
        self._python = python
        self._layout = layout
        self.base_dir: Path | None = None

    def train(
        self,
        job: TrainingJob,
        output: Path,
        *,
        options: StandInOptions,
        cancelled: Callable[[], bool],
    ) -> TrainingOutcome:
        """Make the base model unless it is there, and train on it; see `StandIn.train`."""
        settings = _Settings(
            learning_rate=options.learning_rate or LEARNING_RATE,
            epochs=options.epochs or job.epochs,
            max_length=options.max_length or MAX_LENGTH,
            batch_size=options.batch_size or BATCH_SIZE,
        )
        folder = self._root / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        log = log_file(output)
        log.touch()
        with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as work:
            try:
                base = self._base(job.train, Path(work), cancelled)
                trained = Path(work) / "trained"
                self._run(_arguments(job, base, trained, settings), Path(work), log, cancelled)
            except _Cancelled:
                return TrainingOutcome(0, ("the training was cancelled",))
            for checkpoint in (*trained.glob("checkpoint-*"), trained / "final"):
                mark(checkpoint, job, name=self.name, note=NOTE)
            arrange(trained, output, self._layout)
        events = _events(log)
        end = events.get("end", {})
        return TrainingOutcome(int(end.get("step", 0)), _differences(job, settings, base, events))

    def base_for(self, rows: Path, cancelled: Callable[[], bool] = lambda: False) -> Path:
        """The folder of the base model for these rows, made now unless it is there."""
        folder = self._root / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as work:
            try:
                return self._base(rows, Path(work), cancelled)
            except _Cancelled:
                raise TrainingFailed("it was stopped meanwhile") from None

    def _base(self, rows: Path, work: Path, cancelled: Callable[[], bool]) -> Path:
        """The base model for these rows, made once."""
        maker = Path(tiny_model.__file__)
        made_of = f"{sha256_file(maker)} {sha256_file(rows)} {_BASE_SEED}"
        base = self._root / "tiny" / hashlib.sha256(made_of.encode()).hexdigest()
        if not (base / _MADE).exists():
            draft, said = work / "base", work / "base.out"
            command = [str(maker), str(rows.resolve()), str(draft), str(_BASE_SEED)]
            self._run(command, work, said, cancelled)
            # Last, so that its presence says that the model is whole.
            shutil.move(said, draft / _MADE)
            try:
                draft.replace(base)
            except OSError:
                # Another process was faster; its model is the same.
                if not (base / _MADE).exists():
                    raise
        self.base_dir = base
        _write_whole(self._root / "tiny" / _LAST, base.name, work)
        return base

    def _run(
        self,
        command: Sequence[str],
        work: Path,
        stdout: Path,
        cancelled: Callable[[], bool],
    ) -> None:
        """Run a script to its end; raises `TrainingFailed` or `_Cancelled`."""
        if cancelled():
            raise _Cancelled
        errors = work / "stderr"
        with stdout.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                # -I: neither the caller's variables nor its folder change what is imported.
                [self._python, "-I", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=work,
                env=_environment(work),
            )
            try:
                _wait(process, cancelled)
            finally:
                _stop(process)
        if process.returncode != 0:
            lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = "\n".join(lines[-_LAST_LINES:]) or "it said nothing"
            raise TrainingFailed(f"The training ended with code {process.returncode}: {said}")


def bases(root: Path) -> list[Path]:
    """The folders of all base models under `root`."""
    return sorted(made.parent for made in (root / "tiny").glob(f"*/{_MADE}"))


def last_base(root: Path) -> Path | None:
    """The folder of the base model that was used last under `root`, by whichever process."""
    try:
        name = (root / "tiny" / _LAST).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    base = root / "tiny" / name
    return base if name and (base / _MADE).exists() else None


def _wait(process: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> None:
    while True:
        try:
            process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if cancelled():
                raise _Cancelled from None
        else:
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever happened."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(work: Path) -> dict[str, str]:
    """What the scripts need and no more: no tokens, no network, no home."""
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HOME": str(work),
        "HF_HOME": str(work / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Matrices this small gain little from a second thread, and lose minutes to it where the
        # cores are shared; with one, the result does not depend on how many there are either.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # A rehearsal is the same everywhere, with a GPU or without.
        "CUDA_VISIBLE_DEVICES": "",
    }


def _arguments(job: TrainingJob, base: Path, trained: Path, settings: _Settings) -> list[str]:
    command = [str(SCRIPT), "--base-model", str(base), "--output", str(trained)]
    command += ["--train", str(job.train.resolve())]
    if job.validation is not None:
        command += ["--validation", str(job.validation.resolve())]
    values = {
        "--epochs": settings.epochs,
        "--learning-rate": settings.learning_rate,
        "--rank": job.adapter_rank,
        "--max-length": settings.max_length,
        "--batch-size": settings.batch_size,
        "--seed": job.seed,
    }
    return command + [str(part) for pair in values.items() for part in pair]


def _write_whole(file: Path, text: str, work: Path) -> None:
    draft = work / file.name
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _events(log: Path) -> dict[str, dict[str, Any]]:
    """The last event of each kind in the script's output."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return {event["event"]: event for event in map(json.loads, lines)}


def _differences(
    job: TrainingJob, settings: _Settings, base: Path, events: dict[str, dict[str, Any]]
) -> tuple[str, ...]:
    parameters = json.loads((base / _MADE).read_text(encoding="utf-8"))["parameters"]
    found = [
        (
            f"base model: a random {tiny_model.LAYERS}-layer model of {parameters:,} parameters"
            f" instead of {job.base_model}; what it says means nothing"
        ),
        (
            f"tokenizer: at most {tiny_model.VOCABULARY_SIZE} tokens learned from the rows,"
            " so token counts are not those of the real model"
        ),
    ]
    if settings.learning_rate != job.learning_rate:
        found.append(f"learning rate: {settings.learning_rate:g} instead of {job.learning_rate:g}")
    if settings.epochs != job.epochs:
        found.append(f"epochs: {settings.epochs} instead of {job.epochs}")
    rows = events.get("start", {}).get("train", {})
    found += [
        (
            f"max length: {settings.max_length} of its own tokens a row"
            f" ({rows.get('truncated', 0)} of {rows.get('rows', 0)} training rows were cut,"
            f" {rows.get('dropped', 0)} left out)"
        ),
        f"batch size: {settings.batch_size}; the service chooses its own",
        "precision: 32 bits on the processor",
    ]
    return tuple(found)
