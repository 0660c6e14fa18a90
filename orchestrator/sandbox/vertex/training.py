"""One training of the Vertex face: data from the bucket, a stand-in, its output into the bucket."""

from __future__ import annotations

import logging
import mimetypes
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from google.cloud.aiplatform_v1beta1.types import JobState, SupervisedTuningDataStats

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.rules import Outcome
from orchestrator.sandbox.standins.base import (
    StandIn,
    StandInOptions,
    TrainingFailed,
    TrainingJob,
    TrainingOutcome,
)
from orchestrator.sandbox.standins.layout import STDOUT, Layout, rearrange
from orchestrator.sandbox.vertex.jobs import Disk, Ended, JobRecord, Run, cancelled, file_hash
from orchestrator.sandbox.vertex.logs import UploadedLog
from orchestrator.sandbox.vertex.outcomes import spoil
from orchestrator.sandbox.vertex.refusals import Rejected
from orchestrator.sandbox.vertex.rows import Row, fill_statistics, read_rows
from orchestrator.sandbox.vertex.rules import (
    DEFAULT_RANK,
    Hyperparameters,
    ModelRules,
    folder_of,
    hyperparameters_of,
    model_of,
    open_dataset,
)

_LOG = logging.getLogger(__name__)
_SUCCEEDED = int(JobState.JOB_STATE_SUCCEEDED)
_PARTIAL = int(JobState.JOB_STATE_PARTIALLY_SUCCEEDED)
_FAILED = int(JobState.JOB_STATE_FAILED)
_EXPIRED = int(JobState.JOB_STATE_EXPIRED)
_CANCELLED = int(JobState.JOB_STATE_CANCELLED)


@dataclass(frozen=True)
class Trainer:
    """Trains tuning jobs with a stand-in; `work` holds a folder for each while it runs.

    The outcomes that `book` chose for jobs are applied to what the stand-in leaves.
    """

    work: Path
    disk: Disk
    stand_in: StandIn
    options: StandInOptions
    models: Mapping[str, ModelRules]
    book: FaultBook
    layout: Layout = Layout.FINAL

    def __call__(self, record: JobRecord, run: Run) -> Ended:
        """Train; every way in which that can end is a final state."""
        folder = self.work / file_hash(record.name)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            (folder / "output").mkdir(parents=True)
            return self._train(record, folder, run)
        except Rejected as error:
            # What was accepted at the create no longer holds, such as data deleted meanwhile.
            return _failed(grpc.StatusCode.FAILED_PRECONDITION, error.message)
        except Exception as error:
            _LOG.exception("the training of %s broke", record.name)
            return _failed(grpc.StatusCode.INTERNAL, f"Internal error: {error!r}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, record: JobRecord, folder: Path, run: Run) -> Ended:
        job, output = record.job, folder / "output"
        rules = model_of(job, self.models)
        asked = hyperparameters_of(job, rules)
        training = self._training_job(job, folder, rules, asked)
        with training.train.open("rb") as lines:
            rows = read_rows(lines)
        stats = _statistics(rows, rules, asked)
        run.bill(stats.total_billable_token_count)
        log = UploadedLog(self.disk, *self._place(job), output) if job.output_uri else None
        outcome, failure = TrainingOutcome(step_count=0), None
        try:
            outcome = self._run_stand_in(training, output, run, log)
        except TrainingFailed as error:
            failure = _failed(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        self._wait_out(record, run, log)
        differences = (*outcome.differences, *_own_differences(job, asked, rows))
        stopped = run.stop_state()
        if stopped is not None:
            ended = cancelled() if stopped == _CANCELLED else Ended(state=stopped)
            return replace(ended, differences=differences)
        if failure is not None:
            # A failed training leaves what it wrote until then, its log above all.
            self._store(job, output, log)
            return failure
        stats.tuning_step_count = outcome.step_count
        return self._finish(record, output, log, Ended(_SUCCEEDED, differences, stats=stats))

    def _wait_out(self, record: JobRecord, run: Run, log: UploadedLog | None) -> None:
        """Stay until the planned end, or until somebody ends a job that is to be stuck."""
        stuck = record.rule is not None and record.rule.outcome is Outcome.STUCK
        if stuck:
            self.book.record("vertex", "job", record.name, str(Outcome.STUCK))
        run.wait_out(log.show if log else _show_nothing, forever=stuck)

    def _run_stand_in(
        self, training: TrainingJob, output: Path, run: Run, log: UploadedLog | None
    ) -> TrainingOutcome:
        def stopped() -> bool:
            # Stand-ins ask often: a good moment to upload what the log has got since.
            if log is not None:
                log.show(run.share())
            return run.stop_state() is not None

        return self.stand_in.train(training, output, options=self.options, cancelled=stopped)

    def _finish(
        self, record: JobRecord, output: Path, log: UploadedLog | None, success: Ended
    ) -> Ended:
        """Store the output in its layout, spoiled where a rule says so."""
        rearrange(output, self.layout)
        ended, rule = success, record.rule
        if rule is not None:
            for line in spoil(output, rule):
                self.book.record("vertex", "job", record.name, line)
            if rule.outcome is Outcome.FAILED:
                ended = _failed(grpc.StatusCode.INTERNAL, rule.message)
            elif rule.outcome is Outcome.EXPIRED:
                ended = Ended(state=_EXPIRED)
            elif rule.outcome is Outcome.PARTIAL:
                ended = replace(success, state=_PARTIAL)
        self._store(record.job, output, log)
        return replace(ended, differences=success.differences)

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
        _, content = open_dataset(uri, field, self.disk)
        with content, file.open("wb") as copy:
            shutil.copyfileobj(content, copy)
        return file

    def _place(self, job: Any) -> tuple[str, str]:
        return folder_of(job.output_uri, "tuning_job.output_uri")

    def _store(self, job: Any, output: Path, log: UploadedLog | None) -> None:
        if log is None:
            return
        bucket, prefix = self._place(job)
        for file in sorted(one for one in output.rglob("*") if one.is_file()):
            if file != output / STDOUT:
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                name = prefix + file.relative_to(output).as_posix()
                self.disk.insert(bucket, name, file, content_type=kind)
        log.finish()


def _show_nothing(_share: float) -> None:
    """Google's own models have no output in a bucket."""


def _statistics(rows: list[Row], rules: ModelRules, asked: Hyperparameters) -> Any:
    stats = SupervisedTuningDataStats.pb()()
    fill_statistics(
        stats,
        rows,
        tokens_per_char=rules.tokens_per_char,
        max_tokens=rules.max_tokens,
        epochs=asked.epochs,
    )
    return stats


def _failed(code: grpc.StatusCode, message: str) -> Ended:
    return Ended(state=_FAILED, error_code=code.value[0], error_message=message)


def _own_differences(job: Any, asked: Hyperparameters, rows: list[Row]) -> tuple[str, ...]:
    """Where the face itself departs from the job, whatever the stand-in."""
    found = []
    batch_size = job.supervised_tuning_spec.hyper_parameters.batch_size
    if batch_size:
        found.append(f"the batch size {batch_size} was not passed on")
    if job.custom_base_model:
        found.append(f"the weights at {job.custom_base_model} were not read")
    if asked.rank is None:
        found.append(f"full tuning was stood in for by an adapter of rank {DEFAULT_RANK}")
    if any(row.uses_tools for row in rows):
        found.append(
            "rows with tools or tool calls were accepted; "
            "whether the real service takes them is not documented"
        )
    return tuple(found)
