"""Hugging Face Jobs: what is sent, and how answers are read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from orchestrator.errors import Ambiguous, InputError, NotFound, RefusalKind, Refused
from orchestrator.services.base import (
    RUN_LABEL,
    TOKEN_LABEL,
    AttemptKind,
    AttemptState,
    Handle,
    Volume,
)
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.services.hf_jobs_messages import (
    Flavor,
    JobName,
    to_call,
    to_flavor,
    to_job,
    to_snapshot,
)
from tests.services.hf_jobs_bench import ACCOUNTS, OUTPUT, HfJobsBench, hf_jobs_bench, request

TIMEOUT_S = 20.0
TOKEN = "token-1"
SECRETS = {"HF_TOKEN": "hf_alice"}
MINUTE = Flavor("t4-small", "T4", "4 vCPU", "15 GB", "T4", 1, "16 GB", 6667, "minute")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[HfJobsBench]:
    with hf_jobs_bench(tmp_path) as opened:
        yield opened


def launch(bench: HfJobsBench, launch_token: str = TOKEN, **changes: Any) -> Handle:
    return bench.service.launch(bench.request(**changes), launch_token, may_send=lambda: TIMEOUT_S)


def other_service(bench: HfJobsBench, **changes: Any) -> HfJobsService:
    given = {"token": "hf_alice", "namespace": "alice", "secret_values": SECRETS, **changes}
    return HfJobsService(bench.url, clock=bench.clock, **given)


def answer(stage: str, **changes: Any) -> dict[str, Any]:
    """A job as the service describes it, with changes; `status` changes the stage's company."""
    status = {"stage": stage, "message": None, **changes.pop("status", {})}
    return {"id": "0" * 24, "status": status, "flavor": "t4-small", **changes}


# What is sent


def test_a_launch_sends_all_that_was_asked_for(bench: HfJobsBench) -> None:
    oid = HfApi(endpoint=bench.url, token="hf_alice").create_repo(
        "alice/staging", repo_type="dataset", private=True
    )
    assert oid
    commit = HfApi(endpoint=bench.url, token="hf_alice").dataset_info("alice/staging").sha or ""
    volume = Volume("dataset", "alice/staging", commit, "/orchestrator")
    handle = launch(bench, kind=AttemptKind.GENERATE, volumes=(volume,))
    (record,) = bench.face.jobs()

    assert handle == Handle("hf-jobs", f"alice/{record.id}")
    assert record.request.command == bench.command
    assert record.request.docker_image == request().image
    assert record.request.flavor == "a10g-small"
    assert record.request.timeout_s == 7200
    assert record.request.attempts == 1
    assert record.request.environment["ORCHESTRATOR_OUTPUT"] == OUTPUT
    assert record.request.environment["HF_HUB_DISABLE_XET"] == "1"
    assert record.secret_names == ("HF_TOKEN",)
    assert record.labels == {
        TOKEN_LABEL: "token-1",
        RUN_LABEL: "run-1",
        "orchestrator-kind": "generate",
        "managed-by": "orchestrator",
        "name": "router-tune",
    }
    (mounted,) = record.request.volumes
    assert (mounted.type, mounted.source, mounted.revision) == ("dataset", "alice/staging", commit)
    assert (mounted.mountPath, mounted.readOnly) == ("/orchestrator", True)


def test_jobs_run_in_the_namespace_that_was_named_and_nobody_is_asked_for_it(
    bench: HfJobsBench,
) -> None:
    service = other_service(bench, namespace="lab")
    handle = service.launch(bench.request(), "token-1", may_send=lambda: TIMEOUT_S)

    assert handle.id.startswith("lab/")
    assert service.find("token-1") == handle
    assert bench.service.find("token-1") is None
    assert set(bench.service.inspect([handle])) == {handle}
    assert bench.edge.calls[""] == 0, "neither whoami nor anything else was asked"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": "run 1"}, "the run id 'run 1'"),
        ({"run_id": "r" * 101}, "the run id"),
        ({"timeout_s": 0}, "the timeout of the job is 0 s"),
        ({"command": ()}, "the command of the job is empty"),
        ({"command": ("uv", "")}, "has an empty part"),
        ({"secret_names": ("HF_TOKEN", "WANDB_API_KEY")}, "the secret WANDB_API_KEY"),
        ({"environment": {"HF_TOKEN": "hf_x"}}, "HF_TOKEN: both a variable and a secret"),
        ({"environment": {"ORCHESTRATOR_OUTPUT": "elsewhere"}}, "ORCHESTRATOR_OUTPUT"),
    ],
)
def test_what_cannot_be_sent_is_an_input_error_before_anything_is_sent(
    bench: HfJobsBench, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as raised:
        launch(bench, **changes)
    assert said in str(raised.value)
    assert bench.launch_calls() == 0


def test_a_token_that_is_no_label_is_an_input_error() -> None:
    with pytest.raises(InputError, match="the launch token"):
        to_call(request(), "a b", SECRETS)


def test_an_empty_secret_counts_as_missing_and_no_value_is_ever_shown() -> None:
    with pytest.raises(InputError, match="HF_TOKEN, which has no value"):
        to_call(request(), "t", {"HF_TOKEN": ""})
    assert "hf_alice" not in repr(to_call(request(), "t", SECRETS))


def test_nothing_is_launched_while_the_client_would_log_secrets(
    bench: HfJobsBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_DEBUG", True)
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError, match="HF_DEBUG"):
        launch(bench)
    assert bench.launch_calls() == 0
    assert "hf_alice" not in caplog.text


def test_names_for_people_are_made_fit_for_labels() -> None:
    def name(text: str) -> str:
        return to_call(request(display_name=text), "t", SECRETS).labels["name"]

    assert name("router, Llama 3.1 (8B)") == "router-Llama-3-1-8B-"
    assert name("x" * 300) == "x" * 100
    assert name("") == "job"


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "-a"])
def test_a_namespace_that_cannot_be_is_an_input_error(namespace: str) -> None:
    with pytest.raises(InputError, match="is not a namespace"):
        HfJobsService("https://huggingface.co", None, namespace, {})


def test_a_launch_asks_whether_it_may_when_all_else_is_ready(bench: HfJobsBench) -> None:
    before: list[int] = []

    def may_send() -> float:
        before.append(bench.edge.calls.total())
        return TIMEOUT_S

    bench.service.launch(bench.request(), "token-1", may_send=may_send)
    assert before == [0]
    assert bench.edge.calls.total() == 1


def test_a_token_for_reading_cannot_run_jobs_and_is_told_why(bench: HfJobsBench) -> None:
    assert ACCOUNTS["hf_reader"].role == "read"
    service = other_service(bench, token="hf_reader")
    with pytest.raises(Refused) as raised:
        service.launch(bench.request(), "token-1", may_send=lambda: TIMEOUT_S)
    assert raised.value.kind is RefusalKind.PERMISSION
    assert "permission to run jobs" in raised.value.hint


def test_an_account_without_credits_is_refused_with_the_page_to_go_to(tmp_path: Path) -> None:
    with hf_jobs_bench(tmp_path, can_pay=False) as bench:
        with pytest.raises(Refused) as raised:
            launch(bench)
        assert bench.job_count() == 0
    assert raised.value.kind is RefusalKind.PERMISSION
    assert "billing" in raised.value.hint


# How answers are read


@pytest.mark.parametrize(
    ("stage", "state"),
    [
        ("SCHEDULING", AttemptState.QUEUED),
        ("RUNNING", AttemptState.RUNNING),
        ("COMPLETED", AttemptState.SUCCEEDED),
        ("ERROR", AttemptState.FAILED),
        ("DELETED", AttemptState.FAILED),
        ("CANCELED", AttemptState.CANCELLED),
        ("CANCELLED", AttemptState.UNKNOWN),
        ("UPDATING", AttemptState.UNKNOWN),
    ],
)
def test_every_stage_has_its_state_and_is_kept_as_it_came(stage: str, state: AttemptState) -> None:
    snapshot = to_snapshot(to_job(answer(stage)), {})
    assert (snapshot.state, snapshot.raw_state) == (state, stage)


def test_a_timeout_is_told_apart_from_other_failures() -> None:
    status = {"message": "Job timeout"}
    late = to_snapshot(to_job(answer("ERROR", status=status, timeout=1800)), {})
    failed = to_snapshot(to_job(answer("ERROR", status={"message": "exit code: 1"})), {})

    assert late.error == "stopped at its timeout of 1800 s: Job timeout"
    assert late.stats["timed_out"] is True
    assert failed.error == "exit code: 1"
    assert "timed_out" not in failed.stats


def test_a_job_past_its_timeout_says_so(bench: HfJobsBench) -> None:
    handle = launch(bench, timeout_s=60)
    bench.wait_until_running(handle)
    bench.sandbox_clock.advance(61)
    bench.wait_until_ended(handle)
    snapshot = bench.service.inspect([handle])[handle]

    assert snapshot.state is AttemptState.FAILED
    assert (snapshot.error or "").startswith("stopped at its timeout of 60 s")


def test_a_failure_without_a_message_still_has_words() -> None:
    for stage in ("ERROR", "DELETED"):
        assert to_snapshot(to_job(answer(stage)), {}).error
    assert to_snapshot(to_job(answer("COMPLETED")), {}).error is None
    assert to_snapshot(to_job(answer("CANCELED")), {}).error is None


def test_a_job_that_the_service_cancelled_for_money_says_so() -> None:
    job = to_job(answer("CANCELED", status={"cancelReason": "NO_CREDITS"}))
    assert to_snapshot(job, {}).error == "the service cancelled the job: NO_CREDITS"


def test_the_cost_is_each_begun_minute_of_running_at_the_flavors_price() -> None:
    durations = {"schedulingSecs": 30, "runningSecs": 61, "totalSecs": 91}
    ended = to_job(answer("COMPLETED", durations=durations))
    stats = to_snapshot(ended, {"t4-small": MINUTE}).stats

    assert stats["durations_s"] == {"scheduling": 30, "running": 61, "total": 91}
    assert stats["cost_usd"] == pytest.approx(2 * 0.006667)
    assert "cost_usd" not in to_snapshot(ended, {}).stats
    assert "cost_usd" not in to_snapshot(to_job(answer("ERROR")), {"t4-small": MINUTE}).stats


def test_a_running_job_without_news_is_told_in_the_same_words_each_time() -> None:
    def told(running: int) -> object:
        durations = {"runningSecs": running, "totalSecs": running}
        return to_snapshot(to_job(answer("RUNNING", durations=durations)), {"t4-small": MINUTE})

    assert told(10) == told(70)


@pytest.mark.parametrize(
    ("unit", "usd_per_minute"),
    [("minute", 0.06), ("minutes", 0.06), ("hour", 0.001), ("second", 3.6), ("month", None)],
)
def test_a_price_is_read_in_its_unit(unit: str, usd_per_minute: float | None) -> None:
    flavor = replace(MINUTE, unit_cost_micro_usd=60_000, unit_label=unit)
    assert flavor.usd_per_minute == (usd_per_minute and pytest.approx(usd_per_minute))


def test_an_ended_job_has_times_durations_and_what_it_cost(bench: HfJobsBench) -> None:
    handle = launch(bench)
    bench.wait_until_running(handle)
    bench.sandbox_clock.advance(90)
    bench.let_train(handle)
    snapshot = bench.service.inspect([handle])[handle]

    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC
    assert snapshot.started_at is not None
    assert snapshot.ended_at is not None
    assert snapshot.ended_at > snapshot.started_at
    assert snapshot.stats["durations_s"]["running"] >= 90
    price = snapshot.stats["usd_per_minute"]
    assert price == pytest.approx(1.0 / 60, rel=0.01)
    assert snapshot.stats["cost_usd"] == pytest.approx(2 * price, rel=0.01)


def test_prices_that_are_not_to_be_had_do_not_hold_up_the_state(bench: HfJobsBench) -> None:
    handle = launch(bench)
    bench.let_train(handle)
    bench.edge.failing[""] = (503, False)
    snapshot = bench.service.inspect([handle])[handle]

    assert snapshot.state is AttemptState.SUCCEEDED
    assert "cost_usd" not in snapshot.stats
    assert bench.clock.slept_s == []
    bench.clock.sleep(301)
    assert "cost_usd" in bench.service.inspect([handle])[handle].stats


def test_the_hardware_is_listed_with_its_prices(bench: HfJobsBench) -> None:
    flavors = {one.name: one for one in bench.service.hardware()}
    small = flavors["a10g-small"]

    assert flavors["cpu-basic"].accelerator is None
    assert flavors["cpu-basic"].accelerator_count == 0
    assert (small.accelerator, small.accelerator_count) == ("A10G", 1)
    assert small.vram == "24 GB"
    assert small.unit_label == "minute"
    assert small.usd_per_minute == pytest.approx(1.0 / 60, rel=0.01)


@pytest.mark.parametrize("wrong", [None, [], {}, {"name": "x"}, {"name": "x", "unitLabel": "m"}])
def test_hardware_that_cannot_be_read_is_ambiguous(wrong: Any) -> None:
    with pytest.raises(Ambiguous, match="not a kind of machine"):
        to_flavor(wrong)


@pytest.mark.parametrize("wrong", [None, [], {}, {"id": "x"}, {"id": "x", "status": {}}])
def test_an_answer_that_is_no_job_is_ambiguous(wrong: Any) -> None:
    with pytest.raises(Ambiguous, match="not a job"):
        to_job(wrong)


def test_odd_times_are_left_out() -> None:
    job = to_job(answer("RUNNING", createdAt="2026-11-21T10:00:00.5Z", startedAt="soon"))
    assert job.created_at == datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=UTC)
    assert job.started_at is None


@pytest.mark.parametrize("name", ["job", "a/b/c", "a/", "/b", "a/b c", ""])
def test_a_handle_that_names_no_job_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match="does not name a job"):
        JobName.of(Handle("hf-jobs", name))
    with pytest.raises(InputError, match="vertex:alice/1"):
        JobName.of(Handle("vertex", "alice/1"))


# Lists


def test_two_jobs_with_one_token_are_not_chosen_between(bench: HfJobsBench) -> None:
    first, second = launch(bench), launch(bench)
    with pytest.raises(Ambiguous) as raised:
        bench.service.find("token-1")
    assert first.id in str(raised.value)
    assert second.id in str(raised.value)
    # As the error says: a person cancels the other one, and the run goes on.
    bench.service.cancel(first)
    assert bench.service.find("token-1") == second
    bench.service.cancel(second)
    with pytest.raises(Ambiguous):
        bench.service.find("token-1")


def test_a_service_that_ignores_filters_is_filtered_here(bench: HfJobsBench) -> None:
    handle = launch(bench)
    bench.edge.listed = lambda job: {**job, "labels": {**job["labels"], TOKEN_LABEL: "other"}}
    assert bench.service.find("token-1") is None
    bench.edge.listed = lambda job: job
    assert bench.service.find("token-1") == handle


def test_lists_are_read_page_by_page_and_only_as_far_as_needed(tmp_path: Path) -> None:
    with hf_jobs_bench(tmp_path, page_size=2) as bench:
        oldest, *_, newest = [launch(bench, f"token-{number}") for number in range(5)]

        assert set(bench.service.inspect([newest])) == {newest}
        assert bench.list_calls() == 1
        assert set(bench.service.inspect([oldest, newest])) == {oldest, newest}
        assert bench.list_calls() == 4
        assert bench.service.find("token-0") == oldest
        assert bench.read_calls() == 0


def test_jobs_of_other_people_are_not_paged_through(tmp_path: Path) -> None:
    with hf_jobs_bench(tmp_path, page_size=1) as bench:
        handle = launch(bench)
        api = HfApi(endpoint=bench.url, token="hf_alice")
        for _ in range(3):
            api.run_job(image="x", command=["python", "-c", "0"], namespace="alice")
        assert set(bench.service.inspect([handle])) == {handle}
        assert bench.list_calls() == 1


def test_a_list_lags_behind_and_a_single_read_does_not(tmp_path: Path) -> None:
    with hf_jobs_bench(tmp_path, visibility_lag_s=120) as bench:
        handle = launch(bench)
        assert bench.service.find("token-1") is None
        assert set(bench.service.inspect([handle])) == {handle}
        bench.sandbox_clock.advance(121)
        assert bench.service.find("token-1") == handle


# Cancelling, outputs, pages


@pytest.mark.parametrize("status", [400, 409])
def test_a_cancel_that_is_refused_for_a_running_job_is_not_swallowed(
    bench: HfJobsBench, status: int
) -> None:
    handle = launch(bench)
    bench.edge.failing["cancel"] = (status, False)
    with pytest.raises(Refused):
        bench.service.cancel(handle)


@pytest.mark.parametrize("status", [400, 409])
def test_a_cancel_that_is_refused_because_the_job_has_ended_is_silent(
    bench: HfJobsBench, status: int
) -> None:
    handle = launch(bench)
    bench.let_train(handle)
    bench.edge.failing["cancel"] = (status, False)
    bench.service.cancel(handle)


def test_a_cancel_without_permission_is_not_swallowed(bench: HfJobsBench) -> None:
    handle = launch(bench)
    with pytest.raises(Refused) as raised:
        other_service(bench, token="hf_reader").cancel(handle)
    assert raised.value.kind is RefusalKind.PERMISSION


def test_a_job_of_somebody_else_has_no_outputs(bench: HfJobsBench) -> None:
    handle = launch(bench)
    bench.edge.told = lambda job: {**job, "environment": {}}
    with pytest.raises(NotFound, match="ORCHESTRATOR_OUTPUT"):
        bench.service.outputs(handle)


def test_the_page_of_a_job_does_not_show_what_stands_before_the_host() -> None:
    service = HfJobsService("https://me:s3cret@hub.example", None, "alice", {})
    assert service.logs(Handle("hf-jobs", "alice/1")).link == "https://hub.example/jobs/alice/1"
