"""How jobs of the Vertex face move through their states, and what the face allows and shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import pytest
from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob
from pydantic import ValidationError

from orchestrator.sandbox.standins.base import TrainingFailed
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from tests.sandbox.vertex.stage import Stage
from tests.services.vertex_bench import (
    LOG,
    MODELS,
    PARENT,
    HandStandIn,
    client_of,
    create,
    filled_disk,
    job,
)

QUEUED, PENDING = JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_PENDING
RUNNING, SUCCEEDED = JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_SUCCEEDED
CANCELLED, EXPIRED = JobState.JOB_STATE_CANCELLED, JobState.JOB_STATE_EXPIRED
SLOW = VertexConduct(queued_s=600, pending_s=300, running_s=3 * 3600)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage.at(tmp_path)


def state(client: Any, name: str) -> JobState:
    found: JobState = client.get_tuning_job(name=name).state
    return found


def seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


# States by the clock


def test_a_job_is_queued_pending_and_running_for_as_long_as_the_conduct_says(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with stage.serving(SLOW) as (face, client):
        name = create(client).name
        seen = [state(client, name)]
        for step_s in (599, 1, 299, 1, 3 * 3600 - 1):
            stage.clock.advance(step_s)
            seen.append(state(client, name))
        stage.clock.advance(1)
        ended = face.wait_until_ended(name)

    assert seen == [QUEUED, QUEUED, PENDING, PENDING, RUNNING, RUNNING]
    assert ended.state is SUCCEEDED
    assert seconds(ended.start_time, ended.create_time) == 900
    assert seconds(ended.end_time, ended.start_time) == 3 * 3600
    assert ended.update_time == ended.end_time


def test_a_clock_that_jumps_leaves_the_times_of_one_that_ran(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with stage.serving(SLOW) as (face, client):
        first, second = create(client).name, create(client).name
        stage.clock.advance(4 * 3600)
        ended = face.wait_until_ended(first)
        begun = face.wait_until_running(second)
        stage.clock.advance(3 * 3600)
        later = face.wait_until_ended(second)

    assert seconds(ended.end_time, ended.create_time) == 900 + 3 * 3600
    # The second one waited for the place of the first, and for its own 300 s.
    assert seconds(begun.start_time, ended.end_time) == 300
    assert seconds(later.end_time, later.start_time) == 3 * 3600


def test_a_job_runs_on_after_its_planned_time_while_it_trains(stage: Stage) -> None:
    with stage.serving(VertexConduct(running_s=60)) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        stage.clock.advance(3600)
        still = state(client, name)
        stage.stand_in.gate.set()
        ended = face.wait_until_ended(name)

    assert still is RUNNING
    assert ended.state is SUCCEEDED
    assert ended.end_time <= stage.clock.now()


def test_a_training_that_fails_is_reported_at_the_end_of_its_planned_time(stage: Stage) -> None:
    def fail(_job: object, _output: Path) -> None:
        raise TrainingFailed("out of memory")

    stage.stand_in.act = fail
    stage.stand_in.gate.set()
    with stage.serving(VertexConduct(running_s=60)) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        stage.clock.advance(59)
        before = state(client, name)
        stage.clock.advance(1)
        ended = face.wait_until_ended(name)

    assert before is RUNNING
    assert ended.state is JobState.JOB_STATE_FAILED
    assert ended.error.message == "out of memory"
    assert stage.disk.outputs() == [f"runs/1/{LOG}"]


def test_the_output_of_a_job_is_not_there_before_it_has_ended(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with stage.serving(VertexConduct(running_s=60)) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        stage.clock.advance(59)
        early = stage.disk.outputs()
        stage.clock.advance(1)
        face.wait_until_ended(name)
        late = stage.disk.outputs()

    assert not any(one.endswith(".safetensors") for one in early)
    assert any(one.endswith(".safetensors") for one in late)


def test_without_waits_and_on_the_machines_own_clock_a_job_is_as_fast_as_its_training(
    tmp_path: Path,
) -> None:
    stand_in = HandStandIn()
    stand_in.gate.set()
    disk = filled_disk(tmp_path / "storage")
    with (
        VertexFace(tmp_path / "vertex", disk, stand_in, models=MODELS) as face,
        client_of(face.endpoint) as client,
    ):
        ended = face.wait_until_ended(create(client).name)
    assert ended.create_time <= ended.start_time <= ended.end_time
    assert ended.end_time - ended.create_time < timedelta(seconds=20)


def test_on_the_machines_own_clock_the_waits_are_waited(tmp_path: Path) -> None:
    stand_in = HandStandIn()
    stand_in.gate.set()
    disk = filled_disk(tmp_path / "storage")
    conduct = VertexConduct(queued_s=0.1, pending_s=0.1, running_s=0.1)
    with (
        VertexFace(tmp_path / "vertex", disk, stand_in, models=MODELS, conduct=conduct) as face,
        client_of(face.endpoint) as client,
    ):
        ended = face.wait_until_ended(create(client).name)
    assert ended.state is SUCCEEDED
    assert seconds(ended.start_time, ended.create_time) == pytest.approx(0.2, abs=1e-5)
    assert seconds(ended.end_time, ended.start_time) >= 0.1


# Restarts


def test_a_job_goes_on_from_its_state_after_a_restart(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with stage.serving(SLOW) as (_, client):
        name = create(client).name
        stage.clock.advance(700)
    with stage.serving(SLOW) as (face, client):
        pending = state(client, name)
        stage.clock.advance(200)
        begun = face.wait_until_running(name)
    # Its training was interrupted; to its clients it is running all the same.
    with stage.serving(SLOW) as (face, client):
        running = state(client, name)
        stage.clock.advance(3 * 3600)
        ended = face.wait_until_ended(name)

    assert (pending, running) == (PENDING, RUNNING)
    assert ended.start_time == begun.start_time
    assert seconds(ended.end_time, ended.create_time) == 900 + 3 * 3600


# Cancelling


@pytest.mark.parametrize(("passed_s", "before"), [(0, QUEUED), (600, PENDING)])
def test_a_job_that_does_not_run_yet_is_cancelled_at_once(
    stage: Stage, passed_s: float, before: JobState
) -> None:
    with stage.serving(SLOW) as (_, client):
        name = create(client).name
        stage.clock.advance(passed_s)
        was = state(client, name)
        client.cancel_tuning_job(name=name)
        found = client.get_tuning_job(name=name)

    assert was is before
    assert found.state is CANCELLED
    assert found.error.code == 1
    assert "start_time" not in found
    assert stage.stand_in.jobs == []


def test_a_job_whose_training_is_over_is_cancelled_within_its_planned_time(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with stage.serving(VertexConduct(running_s=60)) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        client.cancel_tuning_job(name=name)
        ended = face.wait_until_ended(name)

    assert ended.state is CANCELLED
    assert ended.error.code == 1
    assert stage.disk.outputs() == [f"runs/1/{LOG}"]


def test_a_job_that_is_being_cancelled_may_be_cancelled_again(stage: Stage) -> None:
    def insist(_job: object, _output: Path) -> None:
        client.cancel_tuning_job(name=name)
        states.append(state(client, name))
        client.cancel_tuning_job(name=name)
        states.append(state(client, name))

    states: list[JobState] = []
    stage.stand_in.act = insist
    with stage.serving() as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        stage.stand_in.gate.set()
        ended = face.wait_until_ended(name)

    assert states == [JobState.JOB_STATE_CANCELLING] * 2
    assert ended.state is CANCELLED


def test_a_cancelled_job_leaves_its_place_to_the_next_one(stage: Stage) -> None:
    with stage.serving(VertexConduct(pending_s=60)) as (_, client):
        first, second = create(client).name, create(client).name
        was = (state(client, first), state(client, second))
        client.cancel_tuning_job(name=first)
        assert was == (PENDING, QUEUED)
        assert state(client, second) is PENDING


# Expiry


@pytest.mark.parametrize(
    ("conduct", "started"),
    [
        (VertexConduct(queued_s=7200, expires_after_s=3600), False),
        (VertexConduct(pending_s=7200, expires_after_s=3600), False),
        (VertexConduct(running_s=7200, expires_after_s=3600), True),
    ],
)
def test_a_job_that_takes_too_long_expires_in_whatever_state(
    stage: Stage, conduct: VertexConduct, started: bool
) -> None:
    stage.stand_in.gate.set()
    with stage.serving(conduct) as (face, client):
        name = create(client).name
        if started:
            face.wait_until_running(name)
        stage.clock.advance(3599)
        before = state(client, name)
        stage.clock.advance(3600)
        ended = face.wait_until_ended(name)

    assert before not in (EXPIRED, SUCCEEDED)
    assert ended.state is EXPIRED
    assert seconds(ended.end_time, ended.create_time) == 3600
    assert ("start_time" in ended) == started


def test_a_job_expires_while_it_waits_for_its_place(stage: Stage) -> None:
    with stage.serving(VertexConduct(expires_after_s=3600)) as (face, client):
        first, second = create(client).name, create(client).name
        face.wait_until_running(first)
        stage.clock.advance(1800)
        third = create(client).name
        stage.clock.advance(1800)
        ended = [face.wait_until_ended(name) for name in (first, second)]
        took_over: TuningJob = face.wait_until_running(third)

    assert [one.state for one in ended] == [EXPIRED, EXPIRED]
    assert seconds(took_over.start_time, took_over.create_time) == 1800


# What is shown


def test_a_created_job_is_read_at_once_and_listed_only_after_the_lag(stage: Stage) -> None:
    with stage.serving(VertexConduct(visibility_lag_s=120)) as (_, client):
        name = create(client, job(labels={"a": "b"})).name

        def listed() -> list[str]:
            request = {"parent": PARENT, "filter": 'labels.a="b"'}
            return [one.name for one in client.list_tuning_jobs(request=request)]

        shown = [listed()]
        read = client.get_tuning_job(name=name).name
        for step_s in (119, 1):
            stage.clock.advance(step_s)
            shown.append(listed())

    assert read == name
    assert shown == [[], [], [name]]


# What is allowed


def calls(client: Any, name: str) -> dict[str, Any]:
    return {
        "create": lambda: create(client),
        "get": lambda: client.get_tuning_job(name=name),
        "list": lambda: client.list_tuning_jobs(parent=PARENT),
        "cancel": lambda: client.cancel_tuning_job(name=name),
    }


@pytest.mark.parametrize("method", ["create", "get", "list", "cancel"])
def test_a_denied_method_names_the_permission_that_is_missing(stage: Stage, method: str) -> None:
    with stage.serving() as (_, client):
        name = create(client).name
    with stage.serving(VertexConduct(denied=frozenset({method}))) as (face, client):
        done = calls(client, name)
        with pytest.raises(api.PermissionDenied) as raised:
            done.pop(method)()
        for other in done.values():
            other()
        jobs = len(face.jobs())

    resource = PARENT if method in ("create", "list") else name
    assert raised.value.reason == "IAM_PERMISSION_DENIED"
    assert raised.value.metadata == {
        "permission": f"aiplatform.tuningJobs.{method}",
        "resource": f"//aiplatform.googleapis.com/{resource}",
    }
    assert jobs == (1 if method == "create" else 2)


def test_another_project_is_denied_and_another_location_is_refused(stage: Stage) -> None:
    conduct = VertexConduct(
        projects=frozenset({"test-project"}), locations=frozenset({"us-central1"})
    )
    with stage.serving(conduct) as (_, client):
        create(client)
        with pytest.raises(api.PermissionDenied):
            create(client, parent="projects/other/locations/us-central1")
        with pytest.raises(api.PermissionDenied):
            client.get_tuning_job(name="projects/other/locations/us-central1/tuningJobs/1")
        with pytest.raises(api.InvalidArgument, match="'global'"):
            create(client, parent="projects/test-project/locations/global")


def test_names_that_are_no_names_are_invalid(stage: Stage) -> None:
    with stage.serving() as (_, client):
        with pytest.raises(api.InvalidArgument, match="tuningJobs/ID"):
            client.get_tuning_job(name="tuningJobs/1")
        with pytest.raises(api.InvalidArgument, match="locations/LOCATION"):
            client.list_tuning_jobs(parent="projects/p")


@pytest.mark.parametrize(
    "given",
    [
        {"queued_s": -1},
        {"running_s": "nan"},
        {"expires_after_s": 0},
        {"running_quota": 0},
        {"quota_mode": "maybe"},
        {"denied": ["delete"]},
        {"layout": "elsewhere"},
        {"queued": 1},
    ],
)
def test_a_conduct_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VertexConduct.model_validate(given)


# The log


def test_the_log_grows_with_the_planned_time_and_never_changes_what_it_has_shown(
    stage: Stage,
) -> None:
    def talk(_job: object, output: Path) -> None:
        lines = "".join(f"step {number}\n" for number in range(1, 41))
        (output / LOG).write_text(lines + "the last line has no end", encoding="utf-8")

    stage.stand_in.act = talk
    stage.stand_in.gate.set()
    written: list[bytes] = []
    conduct = VertexConduct(running_s=1000)
    with stage.serving(conduct) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        for quarter in (1, 2, 3):
            stage.clock.advance(250)
            written.append(stage.disk.log(least_lines=10 * quarter))
        stage.clock.advance(250)
        face.wait_until_ended(name)
        whole = stage.disk.log(least_lines=40)

    assert [one.count(b"\n") for one in written] == [10, 20, 30]
    assert all(whole.startswith(one) for one in written)
    assert whole.endswith(b"the last line has no end")


def test_the_log_is_there_while_the_training_still_writes_it(stage: Stage) -> None:
    with stage.serving() as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        seen = stage.disk.log(least_lines=1)
        was = state(client, name)

    assert seen == b"started\n"
    assert was is RUNNING
