"""The Vertex face, as the released client sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import grpc
import orjson
import pytest
from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob

from orchestrator.errors import InputError
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.standins.base import StandInOptions, TrainingFailed, TrainingJob
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from orchestrator.sandbox.vertex.jobs import JobStore
from tests.services.vertex_bench import (
    BUCKET,
    CHECKPOINT,
    GEMINI,
    LLAMA,
    LOG,
    MODELS,
    PARENT,
    QWEN,
    TRAIN,
    HandStandIn,
    TestClock,
    client_of,
    create,
    filled_disk,
    job,
    rows,
)

TIMEOUT_S = 20.0


@pytest.fixture
def disk(tmp_path: Path) -> ObjectDisk:
    return filled_disk(tmp_path / "storage")


@pytest.fixture
def stand_in() -> HandStandIn:
    return HandStandIn()


def face_on(tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn, **more: Any) -> VertexFace:
    more.setdefault("models", MODELS)
    return VertexFace(tmp_path / "vertex", disk, stand_in, clock=TestClock(), **more)


@pytest.fixture
def face(tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn) -> Iterator[VertexFace]:
    with face_on(tmp_path, disk, stand_in) as running:
        yield running


@pytest.fixture
def client(face: VertexFace) -> Iterator[Any]:
    with client_of(face.endpoint) as connected:
        yield connected


def violated_field(error: api.GoogleAPICallError) -> str:
    """The field that the BadRequest among the details names."""
    (violation,) = (
        one for detail in error.details for one in getattr(detail, "field_violations", ())
    )
    return str(violation.field)


# Jobs and their ends


def test_a_job_trains_on_the_bucket_and_leaves_its_files_there(
    face: VertexFace, client: Any, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    created = create(client, job(labels={"a": "b"}, tuned_model_display_name="router"))
    stand_in.gate.set()
    face.wait_until_ended(created.name)
    ended = client.get_tuning_job(name=created.name)
    (training,) = stand_in.jobs
    tuned = {one.name: one.path.read_bytes() for one in disk.list(BUCKET, "runs/1/")}

    assert created.state in (JobState.JOB_STATE_PENDING, JobState.JOB_STATE_RUNNING)
    assert created.name.removeprefix(f"{PARENT}/tuningJobs/").isdigit()
    assert dict(created.labels) == {"a": "b"}
    assert ended.state is JobState.JOB_STATE_SUCCEEDED
    assert ended.create_time <= ended.start_time <= ended.end_time
    assert ended.create_time.tzinfo is UTC or ended.create_time.utcoffset() is not None
    assert ended.tuned_model.model.startswith(f"{PARENT}/models/")
    assert ended.tuned_model.endpoint.startswith(f"{PARENT}/endpoints/")
    assert tuned == {f"runs/1/{CHECKPOINT}": b"adapter", f"runs/1/{LOG}": b"started\n"}
    assert stand_in.rows_seen == [rows(20)]
    assert training.base_model == LLAMA
    assert training.hub_id == "meta-llama/Llama-3.1-8B-Instruct"
    assert training.validation is not None
    assert (training.epochs, training.learning_rate, training.adapter_rank) == (2, 2e-4, 16)
    assert training.seed == StandInOptions().seed


def test_the_statistics_count_what_the_rows_hold(
    face: VertexFace, client: Any, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    lines = [
        {"prompt": "p" * 100, "completion": "c" * 100},
        {
            "messages": [
                {"role": "system", "content": "s" * 10},
                {"role": "user", "content": "u" * 30},
                {"role": "assistant", "content": "a" * 60},
            ]
        },
        {"prompt": "p" * 40_000, "completion": "c"},
    ]
    disk.insert(BUCKET, "data/train.jsonl", b"\n".join(map(orjson.dumps, lines)))
    stand_in.gate.set()
    created = create(client, job(spec={"validation_dataset_uri": None}))
    face.wait_until_ended(created.name)
    job_stats = client.get_tuning_job(name=created.name).tuning_data_stats
    stats = job_stats.supervised_tuning_data_stats

    # Characters x 0.317, rounded up for prompt and completion; the last row is cut at 8192.
    tokens = [32 + 32, 13 + 20, 8192]
    assert stats.tuning_dataset_example_count == 3
    assert stats.total_tuning_character_count == 200 + 100 + 40_001
    assert stats.total_billable_token_count == sum(tokens) * 2
    assert stats.tuning_step_count == 7
    assert stats.total_truncated_example_count == 1
    assert list(stats.truncated_example_indices) == [3]
    assert "8192" in stats.dropped_example_reasons[0]
    assert stats.user_message_per_example_distribution.max_ == 3
    assert stats.user_output_token_distribution.sum == 32 + 20 + 1


def test_a_training_that_fails_reports_why_and_keeps_its_log(
    face: VertexFace, client: Any, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    def fail(_job: TrainingJob, _output: Path) -> None:
        raise TrainingFailed("the loss is not a number")

    stand_in.act = fail
    stand_in.gate.set()
    name = create(client).name
    face.wait_until_ended(name)
    failed = client.get_tuning_job(name=name)

    assert failed.state is JobState.JOB_STATE_FAILED
    assert (failed.error.code, failed.error.message) == (9, "the loss is not a number")
    assert not failed.tuned_model.model
    assert [one.name for one in disk.list(BUCKET, "runs/")] == [f"runs/1/{LOG}"]


def test_a_stand_in_that_breaks_is_an_internal_error_and_the_next_job_still_runs(
    face: VertexFace, client: Any, stand_in: HandStandIn
) -> None:
    def break_(_job: TrainingJob, _output: Path) -> None:
        raise RuntimeError("a bug")

    stand_in.act = break_
    stand_in.gate.set()
    first = face.wait_until_ended(create(client).name)
    stand_in.act = None
    second = face.wait_until_ended(create(client).name)

    assert first.error.code == 13
    assert "a bug" in first.error.message
    assert second.state is JobState.JOB_STATE_SUCCEEDED


def test_training_data_that_vanished_meanwhile_fails_the_job(
    face: VertexFace, client: Any, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    first, second = create(client), create(client)
    face.wait_until_running(first.name)
    disk.delete(BUCKET, "data/train.jsonl")
    stand_in.gate.set()
    failed = face.wait_until_ended(second.name)

    assert failed.state is JobState.JOB_STATE_FAILED
    assert "train.jsonl" in failed.error.message


def test_differences_from_the_job_are_kept(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "tool_calls": [call]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    disk.insert(BUCKET, "data/train.jsonl", orjson.dumps(row))
    stand_in.gate.set()
    message = job(
        spec={"validation_dataset_uri": None, "tuning_mode": "TUNING_MODE_FULL"},
        hyper_parameters={"adapter_size": None, "batch_size": 4},
    )
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        name = create(client, message).name
        face.wait_until_ended(name)
        told = face.differences(name)
    again = face_on(tmp_path, disk, stand_in)

    assert told[0] == "trained by hand"
    assert [word for word in ("batch size 4", "full tuning", "tool") if word in " ".join(told)] == [
        "batch size 4",
        "full tuning",
        "tool",
    ]
    assert again.differences(name) == told
    with pytest.raises(KeyError):
        again.differences("projects/p/locations/l/tuningJobs/1")


def test_what_a_client_writes_into_output_only_fields_is_ignored(
    face: VertexFace, client: Any
) -> None:
    created = create(
        client,
        job(
            name=f"{PARENT}/tuningJobs/1",
            state="JOB_STATE_SUCCEEDED",
            tuned_model={"model": "mine"},
            end_time="2020-01-01T00:00:00Z",
        ),
    )
    assert not created.name.endswith("/1")
    assert created.state is not JobState.JOB_STATE_SUCCEEDED
    assert "tuned_model" not in created
    assert "end_time" not in created


# Cancelling


def test_a_running_job_is_cancelled_and_leaves_no_model(
    face: VertexFace, client: Any, disk: ObjectDisk
) -> None:
    name = create(client).name
    face.wait_until_running(name)
    client.cancel_tuning_job(name=name)
    cancelled = face.wait_until_ended(name)

    assert cancelled.state is JobState.JOB_STATE_CANCELLED
    assert not cancelled.tuned_model.model
    assert disk.list(BUCKET, f"runs/1/{CHECKPOINT}") == []


def test_a_waiting_job_is_cancelled_at_once_and_never_trains(
    face: VertexFace, client: Any, stand_in: HandStandIn
) -> None:
    first, second = create(client), create(client)
    client.cancel_tuning_job(name=second.name)
    state = client.get_tuning_job(name=second.name).state
    stand_in.gate.set()
    face.wait_until_ended(first.name)

    assert state is JobState.JOB_STATE_CANCELLED
    assert len(stand_in.jobs) == 1


def test_cancelling_what_has_ended_is_a_failed_precondition(
    face: VertexFace, client: Any, stand_in: HandStandIn
) -> None:
    stand_in.gate.set()
    name = create(client).name
    face.wait_until_ended(name)
    with pytest.raises(api.FailedPrecondition, match="SUCCEEDED"):
        client.cancel_tuning_job(name=name)


def test_an_unknown_job_is_not_found(client: Any) -> None:
    name = f"{PARENT}/tuningJobs/7"
    for call in (client.get_tuning_job, client.cancel_tuning_job):
        with pytest.raises(api.NotFound) as raised:
            call(name=name)
        assert raised.value.reason == "RESOURCE_NOT_FOUND"
        assert raised.value.metadata["resource"] == name


# Quota


def test_one_job_more_than_the_quota_waits_for_its_turn(
    face: VertexFace, client: Any, stand_in: HandStandIn
) -> None:
    first, second = create(client), create(client)
    face.wait_until_running(first.name)
    waiting = client.get_tuning_job(name=second.name).state
    stand_in.gate.set()
    face.wait_until_ended(second.name)

    assert second.state is JobState.JOB_STATE_QUEUED
    assert waiting is JobState.JOB_STATE_QUEUED
    assert [one.job_id for one in stand_in.jobs] == [
        one.name.rpartition("/")[2] for one in (first, second)
    ]


def test_the_quota_is_shared_by_locations_but_not_by_projects(
    face: VertexFace, client: Any
) -> None:
    mine = create(client)
    elsewhere = create(client, parent="projects/test-project/locations/global")
    other = create(client, parent="projects/other/locations/us-central1")
    face.wait_until_running(mine.name)
    face.wait_until_running(other.name)

    assert elsewhere.name.startswith("projects/test-project/locations/global/")
    assert client.get_tuning_job(name=elsewhere.name).state is JobState.JOB_STATE_QUEUED


def test_with_quota_mode_refuse_one_job_more_is_resource_exhausted(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    with (
        face_on(tmp_path, disk, stand_in, conduct=VertexConduct(quota_mode="refuse")) as face,
        client_of(face.endpoint) as client,
    ):
        first = create(client)
        with pytest.raises(api.ResourceExhausted) as raised:
            create(client)
        refused_with = {detail.DESCRIPTOR.name for detail in raised.value.details}
        jobs_then = len(face.jobs())
        stand_in.gate.set()
        face.wait_until_ended(first.name)
        second = create(client)

    assert refused_with == {"ErrorInfo", "QuotaFailure", "RetryInfo"}
    assert jobs_then == 1
    assert second.state is not JobState.JOB_STATE_QUEUED
    assert face.create_calls == 3


# Refusals

PARAMETERS = "tuning_job.supervised_tuning_spec.hyper_parameters"
SPEC = "tuning_job.supervised_tuning_spec"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (job(output_uri=None), "tuning_job.output_uri"),
        (job(output_uri="s3://elsewhere/x"), "tuning_job.output_uri"),
        (job(output_uri="gs://no-such-bucket/x"), "tuning_job.output_uri"),
        (job(base_model=None), "tuning_job.base_model"),
        (job(base_model="meta/llama3-1@llama-3.1-8b-instruct"), "tuning_job.base_model"),
        (job(custom_base_model="gs://b/weights"), "tuning_job.custom_base_model"),
        (job(supervised_tuning_spec=None), SPEC),
        (job(spec={"training_dataset_uri": None}), f"{SPEC}.training_dataset_uri"),
        (
            job(spec={"training_dataset_uri": None, "validation_dataset_uri": None}),
            f"{SPEC}.training_dataset_uri",
        ),
        (job(spec={"training_dataset_uri": "/local.jsonl"}), f"{SPEC}.training_dataset_uri"),
        (
            job(spec={"training_dataset_uri": f"gs://{BUCKET}/none.jsonl"}),
            f"{SPEC}.training_dataset_uri",
        ),
        (
            job(spec={"training_dataset_uri": "gs://no-such-bucket/none.jsonl"}),
            f"{SPEC}.training_dataset_uri",
        ),
        (
            job(spec={"validation_dataset_uri": f"gs://{BUCKET}/none.jsonl"}),
            f"{SPEC}.validation_dataset_uri",
        ),
        (job(spec={"validation_dataset_uri": TRAIN}), f"{SPEC}.validation_dataset_uri"),
        (
            job(hyper_parameters={"learning_rate_multiplier": 0.7}),
            f"{PARAMETERS}.learning_rate_multiplier",
        ),
        (
            job(
                base_model=GEMINI,
                output_uri=None,
                hyper_parameters={"learning_rate_multiplier": 0.7},
            ),
            f"{PARAMETERS}.learning_rate_multiplier",
        ),
        (
            job(hyper_parameters={"learning_rate": None, "learning_rate_multiplier": 0.7}),
            f"{PARAMETERS}.learning_rate_multiplier",
        ),
        (job(hyper_parameters={"batch_size": -1}), f"{PARAMETERS}.batch_size"),
        (
            job(base_model=None, pre_tuned_model={"tuned_model_name": "models/1@1"}),
            "tuning_job.pre_tuned_model",
        ),
        (
            job(
                base_model=GEMINI,
                output_uri=None,
                custom_base_model=f"gs://{BUCKET}/data",
                hyper_parameters={"learning_rate": None},
            ),
            "tuning_job.custom_base_model",
        ),
        (job(custom_base_model=f"gs://{BUCKET}/data"), "tuning_job.custom_base_model"),
        (job(custom_base_model="/data"), "tuning_job.custom_base_model"),
        (job(hyper_parameters={"learning_rate": -1.0}), f"{PARAMETERS}.learning_rate"),
        (job(hyper_parameters={"epoch_count": -1}), f"{PARAMETERS}.epoch_count"),
        (job(hyper_parameters={"adapter_size": "ADAPTER_SIZE_TWO"}), f"{PARAMETERS}.adapter_size"),
        (job(base_model=QWEN), f"{SPEC}.tuning_mode"),
        (job(spec={"tuning_mode": "TUNING_MODE_FULL"}), f"{PARAMETERS}.adapter_size"),
        (job(base_model=GEMINI), PARAMETERS),
        (
            job(base_model=GEMINI, hyper_parameters={"learning_rate": None}),
            "tuning_job.output_uri",
        ),
        (job(labels={"Team": "x"}), "tuning_job.labels"),
        (job(labels={"team": "X"}), "tuning_job.labels"),
        (job(labels={"team": "a.b"}), "tuning_job.labels"),
        (job(labels={"team": "x" * 65}), "tuning_job.labels"),
        (job(labels={f"k{number}": "" for number in range(65)}), "tuning_job.labels"),
        (job(tuned_model_display_name="x" * 129), "tuning_job.tuned_model_display_name"),
    ],
)
def test_a_job_that_the_service_would_refuse_is_refused_by_field(
    face: VertexFace, client: Any, message: dict[str, Any], field: str
) -> None:
    with pytest.raises(api.InvalidArgument) as raised:
        create(client, message)
    assert violated_field(raised.value) == field
    assert raised.value.reason == "INVALID_ARGUMENT"
    assert face.jobs() == []


@pytest.mark.parametrize(
    "message",
    [
        job(base_model="publishers/meta/models/llama3_1@llama-3.1-8b-instruct"),
        job(labels={"team": "größe_1-a", "empty": ""}),
        job(spec={"validation_dataset_uri": None}),
        job(output_uri=f"gs://{BUCKET}"),
        job(
            base_model=QWEN,
            spec={"tuning_mode": "TUNING_MODE_FULL"},
            hyper_parameters={"adapter_size": None},
        ),
        job(spec={"tuning_mode": None}, hyper_parameters={"adapter_size": None}),
        job(
            base_model=GEMINI,
            output_uri=None,
            hyper_parameters={"learning_rate": None, "learning_rate_multiplier": 0.5},
        ),
    ],
)
def test_a_job_that_the_service_would_accept_is_accepted_and_trains(
    face: VertexFace, client: Any, stand_in: HandStandIn, message: dict[str, Any]
) -> None:
    stand_in.gate.set()
    ended = face.wait_until_ended(create(client, message).name)
    assert ended.state is JobState.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("location", ["mars-central1", "", "us-central1/x"])
def test_a_location_without_tuning_is_refused(client: Any, location: str) -> None:
    with pytest.raises(api.InvalidArgument) as raised:
        create(client, parent=f"projects/p/locations/{location}")
    assert violated_field(raised.value) == "parent"


GOOD_ROW = b'{"prompt": "p", "completion": "c"}\n'


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (GOOD_ROW + b"{not json}\n", 2),
        (GOOD_ROW + b"\n" + GOOD_ROW, 2),
        (GOOD_ROW + b"[1]\n", 2),
        (GOOD_ROW * 2 + b'{"prompt": "\xff", "completion": "c"}', 3),
        (GOOD_ROW + b'{"text": "x"}', 2),
        (b'{"prompt": "p"}', 1),
        (b'{"prompt": "p", "completion": ""}', 1),
        (b'{"prompt": "p", "completion": 1}', 1),
        (b'{"messages": []}', 1),
        (b'{"messages": [{"role": "user", "content": "u"}]}', 1),
        (b'{"messages": [{"role": "model", "content": "u"}]}', 1),
        (b'{"messages": [{"role": "assistant"}]}', 1),
        (b'{"messages": ["x"]}', 1),
    ],
)
def test_a_training_file_that_is_no_jsonl_of_examples_is_refused_by_line(
    client: Any, disk: ObjectDisk, content: bytes, line: int
) -> None:
    disk.insert(BUCKET, "data/bad.jsonl", content)
    with pytest.raises(api.InvalidArgument, match=rf"bad\.jsonl .*: line {line}: ") as raised:
        create(
            client,
            job(
                spec={
                    "training_dataset_uri": f"gs://{BUCKET}/data/bad.jsonl",
                    "validation_dataset_uri": None,
                }
            ),
        )
    assert violated_field(raised.value) == f"{SPEC}.training_dataset_uri"


def test_a_validation_file_of_a_quarter_is_accepted_and_a_byte_more_is_not(
    face: VertexFace, client: Any, disk: ObjectDisk
) -> None:
    disk.insert(BUCKET, "data/validation.jsonl", rows(5))
    create(client)
    disk.insert(BUCKET, "data/validation.jsonl", rows(5) + b" ")
    with pytest.raises(api.InvalidArgument, match="25%"):
        create(client)


def test_more_than_5000_validation_rows_are_refused(client: Any, disk: ObjectDisk) -> None:
    long_row = orjson.dumps({"prompt": "p" * 1000, "completion": "c"}) + b"\n"
    disk.insert(BUCKET, "data/train.jsonl", long_row * 1000)
    disk.insert(BUCKET, "data/validation.jsonl", GOOD_ROW * 5000)
    create(client)
    disk.insert(BUCKET, "data/validation.jsonl", GOOD_ROW * 5001)
    with pytest.raises(api.InvalidArgument, match="5001 rows"):
        create(client)


# Lists


def listed(client: Any, **request: Any) -> list[str]:
    return [one.name for one in client.list_tuning_jobs(request={"parent": PARENT, **request})]


def test_lists_are_newest_first_and_hold_one_location(face: VertexFace, client: Any) -> None:
    names = [create(client).name for _ in range(3)]
    create(client, parent="projects/test-project/locations/global")
    create(client, parent="projects/test-project-2/locations/us-central1")

    assert listed(client) == names[::-1]
    assert len(face.jobs()) == 5


def test_lists_come_in_pages_that_jobs_created_meanwhile_do_not_shift(client: Any) -> None:
    names = [create(client).name for _ in range(5)]
    first = client.list_tuning_jobs(request={"parent": PARENT, "page_size": 2})
    page = [one.name for one in first.tuning_jobs]
    create(client)
    rest = listed(client, page_size=2, page_token=first.next_page_token)

    assert page + rest == names[::-1]


def test_lists_are_filtered_by_the_value_and_the_presence_of_labels(client: Any) -> None:
    one = create(client, job(labels={"orchestrator-token": "t1", "orchestrator-run": "r"})).name
    two = create(client, job(labels={"orchestrator-token": "t2"})).name
    create(client)

    assert listed(client, filter='labels.orchestrator-token="t1"') == [one]
    assert listed(client, filter="labels.orchestrator-token=t2") == [two]
    assert listed(client, filter="labels.orchestrator-token:*") == [two, one]
    both = 'labels.orchestrator-token:* AND labels."orchestrator-run"="r"'
    assert listed(client, filter=both) == [one]
    assert listed(client, filter='labels.orchestrator-token="t"') == []


@pytest.mark.parametrize(
    "request_",
    [{"filter": "state=RUNNING"}, {"filter": "labels.a"}, {"page_size": -1}, {"page_token": "zz"}],
)
def test_a_list_request_that_makes_no_sense_is_refused(
    client: Any, request_: dict[str, Any]
) -> None:
    with pytest.raises(api.InvalidArgument) as raised:
        listed(client, **request_)
    assert violated_field(raised.value) == next(iter(request_))


# Faults


def test_a_fault_before_the_effect_leaves_no_job_and_one_after_it_leaves_one(
    face: VertexFace, client: Any
) -> None:
    for after_effect in (False, True):
        face.fail_next("create", code=grpc.StatusCode.UNAVAILABLE, after_effect=after_effect)
    counts = []
    for _ in range(2):
        with pytest.raises(api.ServiceUnavailable):
            create(client)
        counts.append(len(face.jobs()))
    create(client)

    assert counts == [0, 1]
    assert len(face.jobs()) == 2
    assert face.create_calls == 3


def test_a_stalled_answer_lasts_until_the_deadline_of_the_client(
    face: VertexFace, client: Any
) -> None:
    face.faults.stall_next("get")
    name = create(client).name
    with pytest.raises(api.DeadlineExceeded):
        client.get_tuning_job(name=name, timeout=0.2)
    assert client.get_tuning_job(name=name).name == name


def test_a_method_that_does_not_exist_cannot_fail(face: VertexFace) -> None:
    with pytest.raises(ValueError, match="launch"):
        face.faults.fail_next("launch", code=grpc.StatusCode.UNAVAILABLE)


# Restarts


def test_an_ended_job_is_served_again_after_a_restart(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    stand_in.gate.set()
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        name = create(client, job(labels={"a": "b"})).name
        face.wait_until_ended(name)
        before = client.get_tuning_job(name=name)
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        assert client.get_tuning_job(name=name) == before
        assert listed(client, filter="labels.a:*") == [name]
    assert len(stand_in.jobs) == 1


def test_lists_keep_their_order_over_a_restart(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        names = [create(client).name for _ in range(8)]
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        names.append(create(client).name)
        assert listed(client) == names[::-1]


def test_a_job_that_was_running_starts_again_from_the_beginning(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        first, second = create(client).name, create(client).name
        face.wait_until_running(first)
    interrupted = {
        one.job.name: one.job.state for one in JobStore(tmp_path / "vertex/jobs").load().values()
    }
    stand_in.gate.set()
    with face_on(tmp_path, disk, stand_in) as face:
        ended = [face.wait_until_ended(name) for name in (first, second)]

    assert interrupted == {
        first: JobState.JOB_STATE_RUNNING,
        second: JobState.JOB_STATE_QUEUED,
    }
    assert [one.state for one in ended] == [JobState.JOB_STATE_SUCCEEDED] * 2
    number = first.rpartition("/")[2]
    assert [one.job_id for one in stand_in.jobs].count(number) == 2


def test_a_job_that_was_being_cancelled_is_cancelled_after_a_restart(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    deaf = threading.Event()

    def never_listen(_job: TrainingJob, _output: Path) -> None:
        deaf.wait(TIMEOUT_S)

    stand_in.act = never_listen
    stand_in.gate.set()
    face = face_on(tmp_path, disk, stand_in)
    face.start()
    with client_of(face.endpoint) as client:
        name = create(client).name
        face.wait_until_running(name)
        client.cancel_tuning_job(name=name)
        assert client.get_tuning_job(name=name).state is JobState.JOB_STATE_CANCELLING
    # As a process that dies leaves it: the folder alone, copied before the training ends.
    store = JobStore(tmp_path / "later/jobs")
    for record in JobStore(tmp_path / "vertex/jobs").load().values():
        store.save(record)
    deaf.set()
    face.stop()
    later = VertexFace(tmp_path / "later", disk, stand_in, models=MODELS, clock=TestClock())
    with later:
        assert later.wait_until_ended(name).state is JobState.JOB_STATE_CANCELLED


def test_names_from_clients_are_never_file_names(
    tmp_path: Path, face: VertexFace, client: Any, stand_in: HandStandIn
) -> None:
    stand_in.gate.set()
    name = create(client, parent="projects/..%2F..%2Fup/locations/global").name
    face.wait_until_ended(name)
    stems = {file.stem for file in (tmp_path / "vertex").rglob("*") if file.is_file()}

    assert len(stems) == 1
    assert all(len(stem) == 64 and set(stem) <= set("0123456789abcdef") for stem in stems)


def test_a_port_in_use_is_an_input_error_and_no_library_writes_to_standard_error(
    tmp_path: Path,
    disk: ObjectDisk,
    stand_in: HandStandIn,
    face: VertexFace,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match=str(face.port)):
        face_on(tmp_path / "second", disk, stand_in, port=face.port)
    assert capfd.readouterr() == ("", "")


def test_a_port_is_free_again_after_the_face_has_ended(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    with face_on(tmp_path, disk, stand_in) as first, client_of(first.endpoint) as client:
        create(client)
        port = first.port
    with face_on(tmp_path, disk, stand_in, port=port) as second:
        assert second.port == port


def test_a_model_that_is_offered_no_more_fails_the_jobs_that_waited_for_it(
    tmp_path: Path, disk: ObjectDisk, stand_in: HandStandIn
) -> None:
    with face_on(tmp_path, disk, stand_in) as face, client_of(face.endpoint) as client:
        name = create(client).name
        face.wait_until_running(name)
    renamed = {LLAMA: replace(MODELS[LLAMA], service_id="meta/other@other")}
    with face_on(tmp_path, disk, stand_in, models=renamed) as face:
        ended: TuningJob = face.wait_until_ended(name)
    assert ended.state is JobState.JOB_STATE_FAILED
    assert "not supported" in ended.error.message
