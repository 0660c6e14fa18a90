"""The Jobs face over the wire: lists, labels, permissions, refusals, hardware."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, JobHardware, Volume, constants
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, JobNotFoundError
from starlette.routing import Route

from orchestrator.catalog import load_catalog
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.hardware import FLAVORS
from orchestrator.sandbox.jobs.routes import UNSERVED, job_routes
from tests.sandbox.hub.openapi_judge import RECORD, description, operation_for, public_operations
from tests.sandbox.jobs.stage import IMAGE, Stage, run, scripts, submit


def body(**more: Any) -> dict[str, Any]:
    return {"command": ["true"], "flavor": "cpu-basic", "dockerImage": IMAGE, **more}


def test_a_new_job_is_scheduled_and_says_what_was_asked(stage: Stage) -> None:
    with stage.serving(JobsConduct(scheduling_s=10)) as api:
        scripts(api, {"a.txt": "x"})
        job = api.run_job(
            image=IMAGE,
            command=["python", "-c", "pass"],
            env={"COLOUR": "blue"},
            secrets={"HF_TOKEN": "hf_alice"},
            flavor="a10g-small",
            timeout="2h",
            labels={"run": "r-1"},
            name="tuning",
            volumes=[Volume(type="dataset", source="alice/code", mount_path="/data")],
            namespace="lab",
        )
        assert (job.status.stage, job.status.message) == ("SCHEDULING", None)
        assert (job.owner.name, job.owner.type) == ("lab", "org")
        assert job.initiator is not None
        assert job.initiator.name == "alice"
        assert (job.docker_image, job.command) == (IMAGE, ["python", "-c", "pass"])
        assert (job.environment, list(job.secrets or ())) == ({"COLOUR": "blue"}, ["HF_TOKEN"])
        assert (job.flavor, job.labels) == ("a10g-small", {"run": "r-1", "name": "tuning"})
        assert job.volumes is not None
        assert job.volumes[0].mount_path == "/data"
        assert job.started_at is None
        assert stage.ask("GET", f"/api/jobs/lab/{job.id}").json()["timeout"] == 7200
        seen = api.inspect_job(job_id=job.id, namespace="lab")
        assert (seen.id, seen.labels) == (job.id, job.labels)


def test_a_space_can_be_the_image(stage: Stage) -> None:
    with stage.serving() as api:
        image = "hf.co/spaces/alice/duckdb"
        job = api.run_job(image=image, command=["true"], namespace="alice")
        assert (job.space_id, job.docker_image) == ("alice/duckdb", None)


def test_lists_are_filtered_by_all_labels_and_any_stage(stage: Stage) -> None:
    with stage.serving() as api:
        one = run(api, "pass", labels={"token": "t1", "run": "r"})
        two = run(api, "raise SystemExit(1)", labels={"token": "t2", "run": "r"})
        other = run(api, "pass", namespace="lab", labels={"run": "r"})
        for job_id in (one, two, other):
            stage.ended(job_id)

        def listed(**more: Any) -> list[str]:
            return [job.id for job in api.list_jobs(namespace="alice", **more)]

        assert listed() == [two, one]
        assert listed(labels={"run": "r"}) == [two, one]
        assert listed(labels={"run": "r", "token": "t1"}) == [one]
        assert listed(labels={"run": "x"}) == []
        assert listed(status=["ERROR", "RUNNING"]) == [two]
        assert listed(status="completed") == [one]
        count = stage.ask("GET", "/api/jobs/alice/count?stage=ERROR&stage=COMPLETED").json()
        assert count == {"count": 2}


def test_long_lists_come_in_pages_that_new_jobs_do_not_shift(stage: Stage) -> None:
    with stage.serving(JobsConduct(page_size=2, scheduling_s=99)) as api:
        made = [run(api, "pass") for _ in range(5)]
        listed = iter(api.list_jobs(namespace="alice"))
        first = [next(listed).id, next(listed).id]
        run(api, "pass")
        assert first + [job.id for job in listed] == made[::-1]


def test_a_list_may_lag_behind_while_the_job_itself_is_there(stage: Stage) -> None:
    with stage.serving(JobsConduct(visibility_lag_s=60)) as api:
        job_id = run(api, "pass", labels={"token": "t"})
        assert api.inspect_job(job_id=job_id, namespace="alice").id == job_id
        assert list(api.list_jobs(namespace="alice", labels={"token": "t"})) == []
        stage.clock.advance(60)
        assert [job.id for job in api.list_jobs(namespace="alice")] == [job_id]


def test_labels_can_be_replaced(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "pass", labels={"old": "1"})
        job = api.update_job_labels(job_id=job_id, labels={"new": "2"}, namespace="alice")
        assert job.labels == {"new": "2"}
        assert [one.id for one in api.list_jobs(namespace="alice", labels={"new": "2"})] == [job_id]


@pytest.mark.parametrize("path", ["", "/cancel", "/labels", "/logs", "/metrics"])
def test_a_job_that_does_not_exist_is_told_apart_from_other_absences(
    stage: Stage, path: str
) -> None:
    with stage.serving() as api:
        elsewhere = run(api, "pass", namespace="lab")
        methods = {"/cancel": "POST", "/labels": "PUT"}
        for job_id in ("0" * 24, elsewhere):
            answer = stage.ask(methods.get(path, "GET"), f"/api/jobs/alice/{job_id}{path}")
            assert answer.status_code == 404
        with pytest.raises(JobNotFoundError):
            api.inspect_job(job_id=elsewhere, namespace="alice")


@pytest.mark.parametrize(
    ("token", "namespace", "status"),
    [
        ("hf_alice", "alice", 200),
        ("hf_alice", "lab", 200),
        ("hf_runner", "alice", 200),
        ("hf_runner", "lab", 403),
        ("hf_narrow", "alice", 403),
        ("hf_reader", "alice", 403),
        ("hf_alice", "club", 403),
        ("hf_bob", "alice", 403),
        ("hf_alice", "nobody", 404),
        ("hf_wrong", "alice", 401),
        (None, "alice", 401),
    ],
)
def test_who_may_run_jobs_where(
    stage: Stage, token: str | None, namespace: str, status: int
) -> None:
    with stage.serving():
        answer = stage.ask("POST", f"/api/jobs/{namespace}", token, json=body())
        assert answer.status_code == status
        check = stage.ask("POST", f"/api/jobs/{namespace}/auth-check/write", token)
        assert check.status_code == status
        assert len(stage.face.jobs()) == (status == 200)


def test_a_token_that_reads_may_look_but_not_stop(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "pass")
        reader = stage.client("hf_reader")
        assert reader.inspect_job(job_id=job_id, namespace="alice").id == job_id
        assert stage.ask("POST", "/api/jobs/alice/auth-check/read", "hf_reader").status_code == 200
        with pytest.raises(HfHubHTTPError, match="403"):
            reader.cancel_job(job_id=job_id, namespace="alice")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"flavor": "t5-huge"}, "flavor"),
        ({"flavor": None}, "flavor"),
        ({"labels": {"run": "a b"}}, "labels.run"),
        ({"labels": {"run": "x" * 101}}, "labels.run"),
        ({"labels": {"a/b": "c"}}, "labels"),
        ({"environment": {"1A": "x"}}, "environment"),
        ({"environment": {"AB": 1}}, "environment.AB"),
        ({"secrets": {"A B": "confidential"}}, "secrets"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"attempts": 0}, "attempts"),
        ({"command": [""]}, "command.0"),
        ({"command": "true"}, "command"),
        ({"volumes": [{"type": "dataset", "source": "a/b"}]}, "volumes.0.mountPath"),
        (
            {"volumes": [{"type": "dataset", "source": "a/b", "mountPath": "data"}]},
            "volumes.0.mountPath",
        ),
        ({"dockerImage": None}, "dockerImage"),
        ({"spaceId": "a/b"}, "spaceId"),
    ],
)
def test_bad_requests_are_refused_with_their_field(
    stage: Stage, change: dict[str, Any], place: str
) -> None:
    with stage.serving():
        answer = stage.ask("POST", "/api/jobs/alice", json=body(**change))
        assert answer.status_code == 400
        assert place in answer.json()["error"]
        assert "confidential" not in answer.text
        assert stage.face.jobs() == []


@pytest.mark.parametrize(
    "change",
    [
        {"expose": {"ports": [80]}},
        {"ssh": {"enabled": True}},
        {"command": None},
        {"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "/data"}]},
    ],
)
def test_what_is_not_served_is_refused_as_that(stage: Stage, change: dict[str, Any]) -> None:
    with stage.serving():
        wanted = {key: one for key, one in body(**change).items() if one is not None}
        answer = stage.ask("POST", "/api/jobs/alice", json=wanted)
        assert (answer.status_code, len(stage.face.jobs())) == (501, 0)
        assert "sandbox" in answer.json()["error"]


def test_a_local_script_as_a_uv_job_is_refused_clearly(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_EXPERIMENTAL_WARNING", True)
    file = tmp_path / "train.py"
    file.write_text("print(1)")
    with stage.serving() as api, pytest.raises(HfHubHTTPError, match="there are no buckets"):
        api.run_uv_job(str(file), namespace="alice")


def test_a_volume_must_be_there_and_be_readable(stage: Stage) -> None:
    with stage.serving() as api:
        scripts(api, {"a.txt": "x"})
        stage.client("hf_bob").create_repo("bob/secret", repo_type="dataset", private=True)
        for volume in (
            Volume(type="dataset", source="alice/missing", mount_path="/d"),
            Volume(type="dataset", source="bob/secret", mount_path="/d"),
            Volume(type="dataset", source="alice/code", mount_path="/d", revision="v9"),
            Volume(type="dataset", source="alice/code", mount_path="/d", path="none"),
        ):
            with pytest.raises(HfHubHTTPError) as caught:
                run(api, "pass", volumes=[volume])
            assert caught.value.response.status_code == 404
        writable = Volume(type="dataset", source="alice/code", mount_path="/d", read_only=False)
        with pytest.raises(BadRequestError, match="read-only"):
            run(api, "pass", volumes=[writable])


def test_a_gated_volume_needs_access(stage: Stage) -> None:
    with stage.serving() as api:
        bob = stage.client("hf_bob")
        bob.create_repo("bob/gated")
        bob.update_repo_settings("bob/gated", gated="manual")
        volume = Volume(type="model", source="bob/gated", mount_path="/model")
        with pytest.raises(HfHubHTTPError, match="gated"):
            run(api, "pass", volumes=[volume])


def test_without_credits_no_job_is_created(stage: Stage) -> None:
    with stage.serving(JobsConduct(can_pay=False)) as api:
        with pytest.raises(HfHubHTTPError, match="credit balance is insufficient") as caught:
            run(api, "pass")
        assert caught.value.response.status_code == 402
        assert stage.face.jobs() == []


def test_flavors_can_be_withdrawn(stage: Stage) -> None:
    with stage.serving(JobsConduct(flavors=frozenset({"cpu-basic"}))) as api:
        assert [one.name for one in api.list_jobs_hardware()] == ["cpu-basic"]
        with pytest.raises(BadRequestError, match="a10g-small is not available"):
            run(api, "pass", flavor="a10g-small")


def test_the_hardware_costs_what_the_service_lists(stage: Stage) -> None:
    with stage.serving() as api:
        hardware = {one.name: one for one in api.list_jobs_hardware()}
    assert {one.unit_label for one in hardware.values()} == {"minute"}
    # All that the client and the catalog know, or a spec could be planned and not rehearsed.
    planned = {one.name: one for one in load_catalog().jobs.flavors}
    assert set(hardware) == {one.value for one in JobHardware} == set(planned)
    for name, one in planned.items():
        assert hardware[name].unit_cost_micro_usd == round(one.usd_per_hour * 1e6 / 60)
        assert hardware[name].cpu == f"{one.vcpus} vCPU"
        assert hardware[name].ram == f"{one.ram_gb:g} GB"
    accelerator = hardware["a10g-small"].accelerator
    assert accelerator is not None
    assert (accelerator.model, accelerator.vram) == ("A10G", "24 GB")
    assert hardware["cpu-basic"].accelerator is None


@pytest.mark.parametrize(
    ("seconds", "usd"), [(0, 0.0), (1, 1 / 60), (60, 1 / 60), (61, 2 / 60), (3600, 1.0)]
)
def test_every_minute_that_was_begun_is_paid(seconds: int, usd: float) -> None:
    cost = FLAVORS["a10g-small"].cost_usd(timedelta(seconds=seconds))
    assert cost == pytest.approx(usd, abs=1e-4)


@pytest.mark.parametrize("query", ["stage=BROKEN", "label=x", "label=a/b=c", "cursor=x"])
def test_bad_filters_are_refused(stage: Stage, query: str) -> None:
    with stage.serving():
        assert stage.ask("GET", f"/api/jobs/alice?{query}").status_code == 400


def test_all_that_is_described_of_jobs_is_served_or_refused_by_name(stage: Stage) -> None:
    if description() is None:
        pytest.skip("ORCHESTRATOR_DATA is not set: the Hub's public description is not at hand")
    with stage.serving():
        routes = job_routes(stage.face)
    served = {_shape(f"{method} {route.path}") for route in routes for method in _methods(route)}
    described = {
        _shape(str(one)) for one in public_operations() if one.template.startswith("/api/jobs")
    }
    assert described - served == set()
    added = {one for one in served - described if one.partition(" ")[2].startswith("/api/jobs")}
    assert added == set(), "served, and no description has it"
    assert {_shape(address) for address in UNSERVED} <= served


def _methods(route: Route) -> set[str]:
    return (route.methods or set()) - {"HEAD"}


def _shape(address: str) -> str:
    for name in ("owner", "namespace"):
        address = address.replace(f"{{{name}}}", "{ns}")
    return address.replace("{jobId}", "{job}")


def test_replies_are_held_to_the_description(stage: Stage) -> None:
    if description() is None:
        pytest.skip("ORCHESTRATOR_DATA is not set: the Hub's public description is not at hand")
    before = RECORD.replies
    with stage.serving() as api:
        job_id = submit(api, ["true"])
        stage.ended(job_id)
        paths = [
            ("GET", f"/api/jobs/alice/{job_id}"),
            ("GET", "/api/jobs/alice"),
            ("GET", "/api/jobs/hardware"),
            ("GET", "/api/jobs/alice/count"),
            ("POST", f"/api/jobs/alice/{job_id}/cancel"),
            ("POST", f"/api/jobs/alice/{job_id}/auth-check/write"),
        ]
        for method, path in paths:
            assert stage.ask(method, path).status_code == 200
            assert operation_for(method, path) is not None
    assert RECORD.replies >= before + 1 + len(paths)


def test_a_client_without_a_token_may_see_the_prices(stage: Stage) -> None:
    with stage.serving():
        hardware = HfApi(endpoint=stage.url, token=False).list_jobs_hardware()
        assert len(hardware) == len(FLAVORS)
        assert httpx2.get(f"{stage.url}/api/jobs/alice").status_code == 401
