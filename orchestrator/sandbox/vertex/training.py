"""One training of the Vertex face: data from the bucket, a stand-in, its output into the bucket."""

from __future__ import annotations

import logging
import mimetypes
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.cloud.aiplatform_v1beta1.types import JobState, SupervisedTuningDataStats

from orchestrator.sandbox.standins.base import (
    StandIn,
    StandInOptions,
    TrainingFailed,
    TrainingJob,
    TrainingOutcome,
)
from orchestrator.sandbox.vertex.jobs import Disk, Ended, file_hash
from orchestrator.sandbox.vertex.refusals import Rejected
from orchestrator.sandbox.vertex.rows import Row, fill_statistics, read_rows
from orchestrator.sandbox.vertex.rules import (
    DEFAULT_RANK,
    Hyperparameters,
    ModelRules,
    folder_of,
    hyperparameters_of,
    model_of,
    stored_file,
)

_LOG = logging.getLogger(__name__)
_SUCCEEDED = int(JobState.JOB_STATE_SUCCEEDED)
_FAILED = int(JobState.JOB_STATE_FAILED)
_CANCELLED = int(JobState.JOB_STATE_CANCELLED)


@dataclass(frozen=True)
class Trainer:
    """Trains tuning jobs with a stand-in; `work` holds a folder for each while it runs."""

    work: Path
    disk: Disk
    stand_in: StandIn
    options: StandInOptions
    models: Mapping[str, ModelRules]

    def __call__(self, job: Any, cancelled: Callable[[], bool]) -> Ended:
        """Train; every way in which that can end is a final state."""
        folder = self.work / file_hash(job.name)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            return self._train(job, folder, cancelled)
        except Rejected as error:
            # What was accepted at the create no longer holds, such as data deleted meanwhile.
            return _failed(grpc.StatusCode.FAILED_PRECONDITION, error.message)
        except Exception as error:
            _LOG.exception("the training of %s broke", job.name)
            return _failed(grpc.StatusCode.INTERNAL, f"Internal error: {error!r}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, job: Any, folder: Path, cancelled: Callable[[], bool]) -> Ended:
        rules = model_of(job, self.models)
        asked = hyperparameters_of(job, rules)
        training = self._training_job(job, folder, rules, asked)
        rows = read_rows(training.train)
        output = folder / "output"
        output.mkdir()
        try:
            outcome = self.stand_in.train(
                training, output, options=self.options, cancelled=cancelled
            )
        except TrainingFailed as error:
            if not cancelled():
                # A failed training leaves what it wrote until then, its log above all.
                self._upload(output, job.output_uri)
                return _failed(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            outcome = TrainingOutcome(step_count=0)
        differences = (*outcome.differences, *_own_differences(job, asked, rows))
        if cancelled():
            return Ended(state=_CANCELLED, differences=differences)
        self._upload(output, job.output_uri)
        stats = SupervisedTuningDataStats.pb()()
        fill_statistics(
            stats,
            rows,
            tokens_per_char=rules.tokens_per_char,
            max_tokens=rules.max_tokens,
            epochs=asked.epochs,
            step_count=outcome.step_count,
        )
        return Ended(state=_SUCCEEDED, differences=differences, stats=stats)

    def _training_job(
        self, job: Any, folder: Path, rules: ModelRules, asked: Hyperparameters
    ) -> TrainingJob:
        spec = job.supervised_tuning_spec
        validation = None
        if spec.validation_dataset_uri:
            validation = self._download(
                spec.validation_dataset_uri, "validation_dataset_uri", folder / "validation.jsonl"
            )
        return TrainingJob(
            job_id=job.name.rpartition("/")[2],
            base_model=rules.service_id,
            hub_id=rules.hub_id,
            train=self._download(
                spec.training_dataset_uri, "training_dataset_uri", folder / "train.jsonl"
            ),
            validation=validation,
            epochs=asked.epochs,
            learning_rate=asked.learning_rate,
            adapter_rank=asked.rank or DEFAULT_RANK,
            seed=self.options.seed,
        )

    def _download(self, uri: str, field: str, file: Path) -> Path:
        shutil.copyfile(stored_file(uri, field, self.disk).path, file)
        return file

    def _upload(self, output: Path, uri: str) -> None:
        if not uri:
            return
        bucket, prefix = folder_of(uri)
        for file in sorted(one for one in output.rglob("*") if one.is_file()):
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            name = prefix + file.relative_to(output).as_posix()
            self.disk.insert(bucket, name, file, content_type=kind)


def _failed(code: grpc.StatusCode, message: str) -> Ended:
    return Ended(state=_FAILED, error_code=code.value[0], error_message=message)


def _own_differences(job: Any, asked: Hyperparameters, rows: list[Row]) -> tuple[str, ...]:
    """Where the face itself departs from the job, whatever the stand-in."""
    found = []
    batch_size = job.supervised_tuning_spec.hyper_parameters.batch_size
    if batch_size:
        found.append(f"the batch size {batch_size} was not passed on")
    if asked.rank is None:
        found.append(f"full tuning was stood in for by an adapter of rank {DEFAULT_RANK}")
    if any(row.uses_tools for row in rows):
        found.append(
            "rows with tools or tool calls were accepted; "
            "whether the real service takes them is not documented"
        )
    return tuple(found)
