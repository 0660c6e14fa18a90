"""What the jobs of the Vertex face would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.cloud.aiplatform_v1beta1.types import JobState

from orchestrator.sandbox.vertex.jobs import JobRecord
from orchestrator.sandbox.vertex.refusals import Rejected
from orchestrator.sandbox.vertex.rules import ModelRules, model_of

_FINISHED = frozenset({JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_PARTIALLY_SUCCEEDED})


@dataclass(frozen=True)
class BillLine:
    """The cost of a job in US dollars, None where the price of the model is not known.

    `note` says what was assumed: only the price of a training that is finished is documented.
    """

    job_name: str
    base_model: str
    state: str
    billable_tokens: int
    usd_per_million_tokens: float | None
    cost_usd: float | None
    note: str


def bill_line(record: JobRecord, models: Mapping[str, ModelRules]) -> BillLine:
    """What a job costs: tokens of its data (cut at the longest row) times epochs."""
    state = JobState(record.job.state)
    tokens, note = _billed(record, state)
    price = _price(record, models)
    return BillLine(
        job_name=record.name,
        base_model=record.job.base_model,
        state=state.name,
        billable_tokens=tokens,
        usd_per_million_tokens=price,
        cost_usd=None if price is None else tokens * price / 1e6,
        note=note,
    )


def _billed(record: JobRecord, state: JobState) -> tuple[int, str]:
    if state in _FINISHED:
        return record.billable_tokens, ""
    if state is JobState.JOB_STATE_CANCELLED and record.billable_tokens:
        return record.billable_tokens, "cancelled while it trained: assumed to cost all of it"
    if state in (JobState.JOB_STATE_FAILED, JobState.JOB_STATE_EXPIRED):
        return 0, "ended without a model: assumed to cost nothing"
    if state is JobState.JOB_STATE_CANCELLED:
        return 0, "cancelled before it trained"
    return 0, "not ended yet"


def _price(record: JobRecord, models: Mapping[str, ModelRules]) -> float | None:
    try:
        return model_of(record.job, models).usd_per_million_tokens
    except Rejected:
        # It was offered when the job was created.
        return None
