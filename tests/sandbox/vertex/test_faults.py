"""What goes wrong with requests to the Vertex face by rule, over gRPC."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import grpc
import pytest
from google.cloud.aiplatform_v1beta1.types import CreateTuningJobRequest, JobState, TuningJob
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no stubs

from orchestrator.sandbox.edge.book import FaultBook, Injection
from orchestrator.sandbox.edge.rules import Effect
from orchestrator.sandbox.vertex.refusals import code_of
from tests.sandbox.vertex.stage import Stage, WatchedBook
from tests.services.vertex_bench import PARENT, create, job

_SERVICE = "/google.cloud.aiplatform.v1beta1.GenAiTuningService"
CREATE, LIST = f"{_SERVICE}/CreateTuningJob", f"{_SERVICE}/ListTuningJobs"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage.at(tmp_path)


def injected(rules: FaultBook) -> list[tuple[str, str, str, int | None]]:
    def plain(one: Injection) -> tuple[str, str, str, int | None]:
        assert one.face == "vertex"
        return one.operation, one.target, one.fault, one.hidden_status

    return [plain(one) for one in rules.injected]


@pytest.mark.parametrize(
    ("rule", "raised"),
    [
        ({}, api.ServiceUnavailable),
        ({"status": 429}, api.ResourceExhausted),
        ({"status": 500}, api.InternalServerError),
        ({"status": 504}, api.DeadlineExceeded),
        ({"status": 400}, api.InvalidArgument),
        ({"status": 418}, api.FailedPrecondition),
        ({"code": "ABORTED"}, api.Aborted),
        ({"code": "DATA_LOSS", "status": 400}, api.DataLoss),
    ],
)
def test_an_error_is_answered_with_its_code_or_that_of_its_status(
    stage: Stage, rule: dict[str, Any], raised: type[Exception]
) -> None:
    rules = WatchedBook(operation="create", message="out of order", **rule)
    with stage.serving(book=rules) as (face, client):
        with pytest.raises(raised, match="out of order"):
            create(client)
        assert face.jobs() == []
        create(client)
        assert len(face.jobs()) == 1
    assert [one[:2] for one in injected(rules)] == [("create", PARENT)]


def test_every_http_status_has_a_code() -> None:
    codes = {code_of(status) for status in range(400, 600)}
    assert {grpc.StatusCode.UNKNOWN, grpc.StatusCode.FAILED_PRECONDITION} < codes
    assert grpc.StatusCode.OK not in codes


def test_an_error_may_ask_to_come_back_later(stage: Stage) -> None:
    rules = WatchedBook(operation="list", status=429, retry_after_s=2.5)
    with stage.serving(book=rules) as (_, client), pytest.raises(api.ResourceExhausted) as raised:
        client.list_tuning_jobs(parent=PARENT)
    (detail,) = raised.value.details
    assert detail.retry_delay.ToTimedelta().total_seconds() == 2.5


@pytest.mark.parametrize("effect", [Effect.ERROR, Effect.DROP])
@pytest.mark.parametrize("after", [False, True])
def test_the_effect_is_there_only_where_the_rule_says_after(
    stage: Stage, effect: Effect, after: bool
) -> None:
    rules = WatchedBook(operation="create", effect=effect, after=after)
    with stage.serving(book=rules) as (face, client):
        with pytest.raises(api.ServiceUnavailable):
            create(client)
        jobs = face.jobs()
        assert face.create_calls == 1

    assert len(jobs) == after
    ((_, _, fault, hidden_status),) = injected(rules)
    assert ("after the effect" in fault) == after
    assert hidden_status == (200 if after else None)


def test_the_record_has_the_refusal_that_the_client_did_not_get_to_see(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.DROP, after=True)
    with stage.serving(book=rules) as (_, client), pytest.raises(api.ServiceUnavailable):
        create(client, job(output_uri=None))
    assert [one[3] for one in injected(rules)] == [400]


def test_a_stalled_request_lasts_until_the_clients_deadline(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.STALL, after=True)
    with stage.serving(book=rules) as (face, client):
        with pytest.raises(api.DeadlineExceeded):
            client.create_tuning_job(parent=PARENT, tuning_job=job(), timeout=0.2)
        assert len(face.jobs()) == 1


def test_a_stalled_request_ends_with_the_face(stage: Stage) -> None:
    rules = WatchedBook(operation="list", effect=Effect.STALL)
    with contextlib.ExitStack() as later:
        with stage.serving(book=rules) as (face, _):
            channel = later.enter_context(grpc.insecure_channel(face.endpoint))
            call = channel.unary_unary(LIST).future(b"")
            assert rules.recorded.wait(20)
        assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_a_delayed_answer_comes_when_the_clock_has_moved_and_the_effect_is_there_before(
    stage: Stage,
) -> None:
    rules = WatchedBook(operation="create", effect=Effect.DELAY, delay_s=3600)
    with stage.serving(book=rules) as (face, client):
        answer = client.transport.grpc_channel.unary_unary(CREATE).future(
            CreateTuningJobRequest.serialize(
                CreateTuningJobRequest(parent=PARENT, tuning_job=job())
            )
        )
        assert rules.recorded.wait(20)
        early = (len(face.jobs()), answer.done())
        stage.clock.advance(3600)
        made = TuningJob.deserialize(answer.result(timeout=20))

    assert early == (1, False)
    assert made.name.startswith(PARENT)
    assert injected(rules) == [("create", PARENT, "delay of 3600 s", None)]


def test_a_changed_byte_makes_an_answer_that_no_client_can_read(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.CORRUPT)
    with stage.serving(book=rules) as (face, client):
        with pytest.raises(api.InternalServerError):
            create(client)
        assert len(face.jobs()) == 1
    assert [one[2] for one in injected(rules)] == ["byte 0 changed"]


def test_details_that_were_changed_do_not_hide_the_code(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.CORRUPT)
    # Not an error of the client's own kind: its parser fails.
    with stage.serving(book=rules) as (_, client), pytest.raises(DecodeError) as raised:
        create(client, job(output_uri=None))
    error: BaseException | None = raised.value
    codes = []
    while error is not None:
        codes += [error.code()] if isinstance(error, grpc.RpcError) else []
        error = error.__context__
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT]


def test_an_answer_that_is_cut_is_lost_after_its_effect(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.CUT, keep_bytes=3)
    with stage.serving(book=rules) as (face, client):
        with pytest.raises(api.ServiceUnavailable):
            create(client)
        assert len(face.jobs()) == 1


def test_a_rule_applies_to_the_jobs_and_methods_that_it_names(stage: Stage) -> None:
    with stage.serving() as (_, client):
        first, second = create(client).name, create(client).name
    rules = WatchedBook(operation="get", target=first.rpartition("/")[2], times=None)
    with stage.serving(book=rules) as (_, client):
        for _ in range(2):
            with pytest.raises(api.ServiceUnavailable):
                client.get_tuning_job(name=first)
        assert client.get_tuning_job(name=second).name == second
        client.cancel_tuning_job(name=first)
    assert len(injected(rules)) == 2


def test_faults_of_a_program_and_of_a_book_are_one_system(stage: Stage) -> None:
    rules = WatchedBook(operation="get", nth=3, code="ABORTED")
    with stage.serving(book=rules) as (face, client):
        name = create(client).name
        face.faults.fail_next("get", code=grpc.StatusCode.INTERNAL)
        face.faults.fail_next("get", code=grpc.StatusCode.UNKNOWN)
        seen = []
        for _ in range(4):
            try:
                seen.append(client.get_tuning_job(name=name).state.name[:9])
            except api.GoogleAPICallError as error:
                seen.append(error.grpc_status_code.name)
        assert face.faults.calls["get"] == 4

    assert seen[:3] == ["INTERNAL", "UNKNOWN", "ABORTED"]
    assert seen[3] == JobState.JOB_STATE_RUNNING.name[:9]
    assert len(injected(rules)) == 3
