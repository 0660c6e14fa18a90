"""Vertex AI tuning: what is sent, how answers and errors are read."""

from __future__ import annotations

import http.server
import inspect
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import google.auth.exceptions as auth
import google.oauth2.credentials
import grpc
import pytest
from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob
from google.rpc import error_details_pb2

from orchestrator.errors import Ambiguous, InputError, RefusalKind, Refused
from orchestrator.services.base import RUN_LABEL, TOKEN_LABEL, AttemptState, Handle
from orchestrator.services.vertex import VertexService
from orchestrator.services.vertex_client import host_of, refresh
from orchestrator.services.vertex_errors import google_errors, to_error
from orchestrator.services.vertex_messages import to_job, to_snapshot
from tests.services.vertex_bench import (
    BUCKET,
    LOCATION,
    PARENT,
    PROJECT,
    VertexBench,
    request,
    vertex_bench,
)

TIMEOUT_S = 20.0
TOKEN = "token-1"
AMBIGUOUS = "ambiguous"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[VertexBench]:
    with vertex_bench(tmp_path) as opened:
        yield opened


def launch(bench: VertexBench, launch_token: str = TOKEN, **changes: Any) -> Handle:
    return bench.service.launch(request(**changes), launch_token, may_send=lambda: TIMEOUT_S)


def verdict(error: Exception | None) -> str:
    """How one of our errors counts, as a word."""
    if isinstance(error, Ambiguous):
        return AMBIGUOUS
    assert isinstance(error, Refused), f"{error!r} is neither"
    return error.kind.value


# What is sent


def test_a_launch_sends_what_an_open_model_needs(bench: VertexBench) -> None:
    handle = launch(bench, "token-1", learning_rate=1.4e-4, adapter_rank=16)
    (job,) = bench.face.jobs()
    spec = TuningJob.pb(job).supervised_tuning_spec

    assert handle == Handle("vertex", job.name)
    assert job.name.startswith(f"{PARENT}/tuningJobs/")
    assert job.base_model == "meta/llama3_1@llama-3.1-8b-instruct"
    assert job.tuned_model_display_name == "router"
    assert job.output_uri == f"gs://{BUCKET}/runs/run-1"
    assert dict(job.labels) == {TOKEN_LABEL: "token-1", RUN_LABEL: "run-1"}
    assert spec.training_dataset_uri == f"gs://{BUCKET}/data/train.jsonl"
    assert spec.validation_dataset_uri == f"gs://{BUCKET}/data/validation.jsonl"
    assert spec.hyper_parameters.epoch_count == 2
    assert spec.hyper_parameters.learning_rate == 1.4e-4
    assert spec.hyper_parameters.learning_rate_multiplier == 0
    assert spec.hyper_parameters.adapter_size == 4
    assert spec.tuning_mode == 2


@pytest.mark.parametrize(("rank", "number"), [(1, 1), (2, 6), (4, 2), (8, 3), (16, 4), (32, 5)])
def test_a_rank_becomes_the_number_of_its_adapter_size(rank: int, number: int) -> None:
    job = TuningJob.pb(to_job(request(adapter_rank=rank), "t"))
    assert job.supervised_tuning_spec.hyper_parameters.adapter_size == number


def test_a_full_tuning_has_no_adapter_size_and_may_do_without_validation() -> None:
    full = request(mode="full", adapter_rank=None, validation_uri=None)
    spec = TuningJob.pb(to_job(full, "t")).supervised_tuning_spec

    assert spec.tuning_mode == 1
    assert spec.hyper_parameters.adapter_size == 0
    assert spec.validation_dataset_uri == ""


@pytest.mark.parametrize(
    ("changed", "launch_token", "said"),
    [
        ({}, "Token", "the launch token 'Token'"),
        ({}, "t" * 65, "the launch token"),
        ({}, "", "the launch token ''"),
        ({}, "token\n", "the launch token"),
        ({"run_id": "run.1"}, "token", "the run id 'run.1'"),
        ({"adapter_rank": 3}, "token", "no adapter of rank 3"),
        ({"adapter_rank": None}, "token", "no adapter of rank None"),
        ({"mode": "full"}, "token", "full tuning has no adapter"),
        ({"mode": "qlora"}, "token", "no tuning mode 'qlora'"),
    ],
)
def test_what_the_api_cannot_express_is_an_input_error_and_nothing_is_sent(
    bench: VertexBench, changed: dict[str, Any], launch_token: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        launch(bench, launch_token, **changed)
    assert bench.launch_calls() == 0


def test_a_location_is_served_by_its_own_host() -> None:
    assert host_of("global") == "aiplatform.googleapis.com"
    assert host_of("europe-west4") == "europe-west4-aiplatform.googleapis.com"


def test_an_endpoint_beyond_this_machine_is_refused() -> None:
    with pytest.raises(InputError, match="not a port of this machine"):
        VertexService(PROJECT, LOCATION, "aiplatform.example.com:443")


def test_a_handle_of_another_service_is_refused(bench: VertexBench) -> None:
    with pytest.raises(InputError, match="hf-jobs"):
        bench.service.inspect([Handle("hf-jobs", f"{PARENT}/tuningJobs/1")])
    with pytest.raises(InputError, match="tuningJobs/ID"):
        bench.service.cancel(Handle("vertex", "nonsense"))


def test_importing_the_service_imports_no_google_client() -> None:
    script = (
        "import sys, orchestrator.services.vertex;"
        "print([name for name in sys.modules if name.startswith(('google.', 'grpc'))"
        # A package that several distributions share is there from the start.
        " and name != 'google.cloud'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# How answers are read


@pytest.mark.parametrize(
    ("raw", "ours"),
    [
        ("JOB_STATE_UNSPECIFIED", AttemptState.UNKNOWN),
        ("JOB_STATE_QUEUED", AttemptState.QUEUED),
        ("JOB_STATE_PENDING", AttemptState.QUEUED),
        ("JOB_STATE_RUNNING", AttemptState.RUNNING),
        ("JOB_STATE_SUCCEEDED", AttemptState.SUCCEEDED),
        ("JOB_STATE_FAILED", AttemptState.FAILED),
        ("JOB_STATE_CANCELLING", AttemptState.RUNNING),
        ("JOB_STATE_CANCELLED", AttemptState.CANCELLED),
        ("JOB_STATE_PAUSED", AttemptState.RUNNING),
        ("JOB_STATE_EXPIRED", AttemptState.FAILED),
        ("JOB_STATE_UPDATING", AttemptState.RUNNING),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", AttemptState.PARTIAL),
    ],
)
def test_each_state_of_the_service_has_its_place(raw: str, ours: AttemptState) -> None:
    snapshot = to_snapshot(TuningJob(state=JobState[raw]))
    assert (snapshot.state, snapshot.raw_state) == (ours, raw)


def test_every_state_of_the_api_is_in_the_table_above() -> None:
    (mark,) = test_each_state_of_the_service_has_its_place.pytestmark  # type: ignore[attr-defined]  # set by pytest
    assert {raw for raw, _ in mark.args[1]} == {state.name for state in JobState}


def test_reading_an_unknown_state_warns_nobody() -> None:
    job = TuningJob()
    TuningJob.pb(job).state = 77
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_snapshot(job).raw_state == "JOB_STATE_77"


def test_a_snapshot_keeps_times_error_and_statistics_as_plain_json() -> None:
    job = TuningJob(
        state=JobState.JOB_STATE_FAILED,
        create_time="2026-03-04T05:06:07.250Z",
        start_time=datetime(2026, 3, 4, 6, tzinfo=UTC),
        tuned_model={"model": "projects/p/locations/l/models/1@1"},
        tuning_data_stats={
            "supervised_tuning_data_stats": {
                "tuning_dataset_example_count": 115,
                "truncated_example_indices": [3, 9],
                "user_input_token_distribution": {"min_": 1.5, "buckets": [{"count": 2}]},
                "user_dataset_examples": [{"role": "user", "parts": [{"text": "a secret"}]}],
            }
        },
    )
    TuningJob.pb(job).error.code = 9
    TuningJob.pb(job).error.message = "out of memory"
    snapshot = to_snapshot(job)

    assert snapshot.created_at == datetime(2026, 3, 4, 5, 6, 7, 250_000, UTC)
    assert snapshot.started_at == datetime(2026, 3, 4, 6, tzinfo=UTC)
    assert snapshot.ended_at is None
    assert snapshot.error == "out of memory"
    assert snapshot.stats == {
        "tuned_model": {"model": "projects/p/locations/l/models/1@1"},
        "tuning_data_stats": {
            "supervised_tuning_data_stats": {
                "tuning_dataset_example_count": 115,
                "truncated_example_indices": [3, 9],
                "user_input_token_distribution": {"min": 1.5, "buckets": [{"count": 2.0}]},
            }
        },
    }


def test_a_job_that_ended_well_reports_its_statistics(bench: VertexBench) -> None:
    handle = launch(bench)
    bench.let_train(handle)
    stats = bench.service.inspect([handle])[handle].stats

    counted = stats["tuning_data_stats"]["supervised_tuning_data_stats"]
    assert counted["tuning_dataset_example_count"] == 20
    assert counted["tuning_step_count"] == 7
    assert stats["tuned_model"]["model"].startswith(f"{PARENT}/models/")


def test_a_service_that_ignores_filters_is_filtered_here(bench: VertexBench) -> None:
    bench.face.faults.ignore_filters = True
    first, second = launch(bench, "token-1"), launch(bench, "token-2")

    assert bench.service.find("token-1") == first
    assert bench.service.find("token-3") is None
    assert set(bench.service.inspect([second])) == {second}


def test_two_jobs_with_one_token_are_not_chosen_between(bench: VertexBench) -> None:
    first, second = launch(bench), launch(bench)
    with pytest.raises(Ambiguous) as raised:
        bench.service.find("token-1")
    assert first.id in str(raised.value)
    assert second.id in str(raised.value)


def test_jobs_of_other_locations_are_inspected_with_one_list_each(bench: VertexBench) -> None:
    elsewhere = VertexService(PROJECT, "global", bench.face.endpoint, bench.clock)
    handles = [
        launch(bench),
        elsewhere.launch(request(), "token-2", may_send=lambda: TIMEOUT_S),
        elsewhere.launch(request(), "token-3", may_send=lambda: TIMEOUT_S),
    ]
    elsewhere.close()

    assert set(bench.service.inspect(handles)) == set(handles)
    assert bench.list_calls() == 2


def test_lists_are_read_page_by_page_and_only_as_far_as_needed(
    bench: VertexBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.services.vertex._PAGE_SIZE", 2)
    oldest, *_, newest = [launch(bench, f"token-{number}") for number in range(5)]

    assert set(bench.service.inspect([newest])) == {newest}
    assert bench.list_calls() == 1
    assert set(bench.service.inspect([oldest, newest])) == {oldest, newest}
    assert bench.list_calls() == 4


def test_the_log_is_an_object_under_the_output_and_the_link_names_the_job(
    bench: VertexBench,
) -> None:
    handle = launch(bench, output_uri=f"gs://{BUCKET}/runs/run-1/")
    logs = bench.service.logs(handle)

    assert logs.uri == f"gs://{BUCKET}/runs/run-1/executor/node-0/stdout"
    assert handle.id.rpartition("/")[2] in logs.link
    assert f"project={PROJECT}" in logs.link


# How errors are read

REFUSALS_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.FAILED_PRECONDITION: "invalid",
    grpc.StatusCode.OUT_OF_RANGE: "invalid",
    grpc.StatusCode.PERMISSION_DENIED: "permission",
    grpc.StatusCode.UNAUTHENTICATED: "credentials",
    grpc.StatusCode.NOT_FOUND: "not_found",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "quota",
}


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
)
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_create_is_refused_only_by_codes_that_say_so(
    bench: VertexBench, code: grpc.StatusCode, after_effect: bool
) -> None:
    bench.face.faults.fail_next("create", code=code, after_effect=after_effect)
    with pytest.raises((Refused, Ambiguous)) as raised:
        launch(bench)

    assert verdict(raised.value) == REFUSALS_BY_CODE.get(code, AMBIGUOUS)
    assert bench.launch_calls() == 1


REFUSALS_BY_CLASS = {
    api.BadRequest: "invalid",
    api.Unauthorized: "credentials",
    api.Forbidden: "permission",
    api.NotFound: "not_found",
    api.TooManyRequests: "quota",
}
NO_ANSWER_TO_SIGN_IN = (auth.TransportError, auth.TimeoutError, auth.ResponseError)


def _classes(module: Any, root: type[Exception]) -> list[type[Exception]]:
    return [one for _, one in inspect.getmembers(module, inspect.isclass) if issubclass(one, root)]


def _made(kind: Any) -> Exception:
    more = {"cause": api.InvalidArgument("no")} if kind is api.RetryError else {}
    made: Exception = kind("said so", **more)
    return made


def test_every_error_class_of_the_api_core_becomes_one_of_ours() -> None:
    classes = _classes(api, api.GoogleAPIError)
    assert len(classes) > 30
    for kind in classes:
        expected = {
            word for parent, word in REFUSALS_BY_CLASS.items() if issubclass(kind, parent)
        } or {AMBIGUOUS}
        assert {verdict(to_error(_made(kind), "create"))} == expected, kind


def test_every_error_class_of_google_auth_becomes_one_of_ours() -> None:
    classes = _classes(auth, auth.GoogleAuthError)
    assert len(classes) > 10
    for kind in classes:
        expected = AMBIGUOUS if issubclass(kind, NO_ANSWER_TO_SIGN_IN) else "credentials"
        assert verdict(to_error(_made(kind), "create")) == expected, kind


def test_a_sign_in_that_may_work_later_is_ambiguous() -> None:
    assert verdict(to_error(auth.RefreshError("503", retryable=True), "create")) == AMBIGUOUS


def test_a_bare_rpc_error_is_ambiguous() -> None:
    assert verdict(to_error(grpc.RpcError("broken"), "create")) == AMBIGUOUS


@pytest.mark.parametrize(
    "text",
    [
        "CLIENT: Received message larger than max (5000000 vs. 4194304)",
        "received trailing metadata size exceeds hard limit (17000 vs. 16384)",
        "Received RST_STREAM with error code 11",
    ],
)
def test_what_the_transport_itself_reports_is_not_taken_for_a_quota(text: str) -> None:
    assert verdict(to_error(api.ResourceExhausted(text), "create")) == AMBIGUOUS


def test_a_stream_that_was_reset_is_not_taken_for_a_missing_permission() -> None:
    reset = api.PermissionDenied("Received RST_STREAM with error code 12")
    assert verdict(to_error(reset, "create")) == AMBIGUOUS


def test_an_error_of_ours_or_a_bug_passes_unchanged() -> None:
    for error in (InputError("ours"), KeyError("bug")):
        with pytest.raises(type(error)) as raised, google_errors("do it"):
            raise error
        assert raised.value is error


def test_the_code_counts_when_the_sdk_trips_over_the_details(bench: VertexBench) -> None:
    # Details whose bytes no google.rpc.Status has: the SDK raises while it reads them.
    bench.face.faults.garble_next("create", code=grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Ambiguous):
        launch(bench)
    bench.face.faults.garble_next("create", code=grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(Refused) as raised:
        launch(bench)
    assert raised.value.kind is RefusalKind.INVALID


def _retry_info(seconds: int) -> Any:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromSeconds(seconds)
    return info


def test_a_quota_refusal_says_which_quota_and_when_to_come_back(bench: VertexBench) -> None:
    failure = error_details_pb2.QuotaFailure()
    failure.violations.add(subject="project:p", description="Concurrent jobs is limited to 1")
    bench.face.faults.fail_next(
        "create",
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        message="quota",
        details=(failure, _retry_info(90)),
    )
    with pytest.raises(Refused) as raised:
        launch(bench)

    assert raised.value.kind is RefusalKind.QUOTA
    assert raised.value.retry_after_s == 90.0
    assert "project:p: Concurrent jobs is limited to 1" in raised.value.message


def test_an_invalid_request_names_the_field(bench: VertexBench) -> None:
    with pytest.raises(Refused, match="output_uri") as raised:
        launch(bench, output_uri="gs://no-such-bucket/x")
    assert "does not exist" in raised.value.message


def test_a_rate_limit_on_a_read_is_waited_for(bench: VertexBench) -> None:
    handle = launch(bench)
    bench.face.faults.fail_next(
        "list", code=grpc.StatusCode.RESOURCE_EXHAUSTED, details=(_retry_info(20),)
    )

    assert set(bench.service.inspect([handle])) == {handle}
    assert bench.clock.slept_s == [20.0]


def test_a_read_that_keeps_failing_ends_as_ambiguous(bench: VertexBench) -> None:
    for _ in range(5):
        bench.face.faults.fail_next("list", code=grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Ambiguous, match="list the tuning jobs"):
        bench.service.find("token-1")
    assert bench.list_calls() == 5


def test_a_read_without_permission_is_not_repeated(bench: VertexBench) -> None:
    bench.face.faults.fail_next("list", code=grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(Refused) as raised:
        bench.service.find("token-1")
    assert raised.value.kind is RefusalKind.PERMISSION
    assert bench.list_calls() == 1


def test_a_cancel_that_is_refused_for_a_running_job_is_not_swallowed(bench: VertexBench) -> None:
    handle = launch(bench)
    bench.face.faults.fail_next("cancel", code=grpc.StatusCode.FAILED_PRECONDITION)
    with pytest.raises(Refused):
        bench.service.cancel(handle)


def test_a_launch_at_a_face_that_is_not_there_is_ambiguous(bench: VertexBench) -> None:
    bench.face.stop()
    with pytest.raises(Ambiguous):
        bench.service.launch(request(), "token-1", may_send=lambda: 1.0)


# Credentials


def test_missing_credentials_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused) as raised:
        VertexService(PROJECT, LOCATION).launch(request(), "token-1", may_send=lambda: TIMEOUT_S)
    assert raised.value.kind is RefusalKind.CREDENTIALS
    assert "gcloud auth application-default login" in str(raised.value)


def test_an_unreadable_credentials_file_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty.json").write_bytes(b"{}")
    (tmp_path / "broken.json").write_bytes(b"\xff\xfe not json")
    (tmp_path / "folder.json").mkdir()
    for file in sorted(tmp_path.iterdir()):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        with pytest.raises(Refused) as raised:
            VertexService(PROJECT, LOCATION).find("token-1")
        assert raised.value.kind is RefusalKind.CREDENTIALS, file.name


class _TokenServer(http.server.BaseHTTPRequestHandler):
    """Says that the sign-in has been revoked."""

    def do_POST(self) -> None:
        body = b'{"error": "invalid_grant", "error_description": "Token has been revoked."}'
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as in the base class)
        pass


def test_a_revoked_sign_in_is_refused_before_anything_is_sent() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _TokenServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        credentials = google.oauth2.credentials.Credentials(
            token=None,
            refresh_token="revoked",
            token_uri=f"http://127.0.0.1:{server.server_port}/token",
            client_id="client",
            client_secret="client",
        )
        with pytest.raises(Refused, match="revoked") as raised:
            refresh(credentials)
        server.shutdown()
        thread.join()
    assert raised.value.kind is RefusalKind.CREDENTIALS
