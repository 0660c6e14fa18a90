"""From a spec to a published adapter, through the real clients, on the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.digests import sha256_file
from orchestrator.errors import Ambiguous, NotFound, OrchestratorError
from orchestrator.ledger import Facts, Lease
from orchestrator.run_actions import RunActions
from orchestrator.services.base import AttemptState, Snapshot
from orchestrator.services.vertex import VertexService
from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.plans import router_plan


def test_a_run_ends_published_with_one_job_and_the_same_bytes_on_the_hub(bench: Bench) -> None:
    run = bench.submit()
    outcome = bench.finish(run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    assert len(bench.sandbox.vertex.jobs()) == 1
    pipeline = bench.pipeline()
    published = pipeline.view(run).published
    assert published is not None
    hub = pipeline._connections.hub
    remote = hub.files(published["repo"], published["revision"])
    folder = pipeline.adapter_folder(run)
    local = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert set(remote) - {".gitattributes"} == set(local)
    for name, digest in local.items():
        assert hub.digest_of(published["repo"], published["revision"], name) == digest
    assert hub.tags(published["repo"]) == {published["tag"]: published["revision"]}


def test_the_run_keeps_metrics_statistics_and_checksums(bench: Bench) -> None:
    run = bench.submit()
    bench.finish(run)
    facts = bench.facts(run)
    assert facts.tune is not None
    assert facts.tune.snapshot is not None
    stats = json.dumps(dict(facts.tune.snapshot.stats))
    assert "billable" in stats.lower()
    assert {point.name for point in bench.ledger.metrics(run)} >= {"loss", "learning_rate"}
    collected = facts.artifacts_of("collected")
    assert "adapter_model.safetensors" in collected
    for name, artifact in collected.items():
        path = bench.pipeline().run_folder(run) / "collected" / name
        assert sha256_file(path) == artifact.sha256


def test_the_card_names_the_stand_in_and_that_no_gates_were_set(bench: Bench) -> None:
    run = bench.submit()
    bench.finish(run)
    card = (bench.pipeline().adapter_folder(run) / "README.md").read_text(encoding="utf-8")
    assert "not a usable model" in card
    assert "`replay`" in card
    assert "No gates were set" in card
    assert bench.facts(run).run.plan.digest in card
    for private in (str(bench.folder), "gs://", bench.settings.project or "-"):
        assert private not in card.replace("sandbox-user", "")


def test_the_repo_is_private_to_strangers(bench: Bench) -> None:
    from orchestrator.stores.hub import HubStore

    run = bench.submit()
    bench.finish(run)
    repo = bench.facts(run).run.target.repo
    assert repo is not None
    assert HubStore(bench.settings.hub_endpoint, None).head(repo) is None


def test_polling_a_published_run_again_changes_nothing(bench: Bench) -> None:
    run = bench.submit()
    bench.finish(run)
    before = bench.facts(run)
    bench.sandbox.hub_app.state.requests.clear()
    assert bench.pipeline().poll() == []
    bench.pipeline().poll([run])
    assert bench.facts(run) == before
    assert bench.sandbox.hub_app.state.requests == []


def test_a_second_run_of_the_same_plan_trains_again_and_commits_only_what_differs(
    bench: Bench,
) -> None:
    first = bench.submit()
    bench.finish(first)
    prepared = router_plan(bench.folder)
    pipeline = bench.pipeline()
    second, is_new = pipeline.submit(prepared, again=True)
    assert is_new
    pipeline.advance(second.id)
    assert bench.finish(second.id).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 2
    uploads = [r for r in bench.sandbox.storage_app.state.requests if "/upload/" in r.target]
    staged = bench.sandbox.disk.list("sandbox-bucket", "staged/")
    assert len(staged) == len(uploads)


def test_a_missing_bucket_is_found_before_anything_is_written(bench: Bench) -> None:
    pipeline = bench.pipeline(bucket="gs://nobodys-bucket")
    with pytest.raises(NotFound, match="nobodys-bucket"):
        pipeline.submit(router_plan(bench.folder), again=False)
    assert_nothing_left(bench)


def test_a_token_that_cannot_write_is_found_before_anything_is_written(bench: Bench) -> None:
    for token in (bench.sandbox.tokens.hub_read, "hf_wrong", None):
        pipeline = bench.pipeline(hub_token=token)
        with pytest.raises(OrchestratorError, match="token"):
            pipeline.submit(router_plan(bench.folder), again=False)
        assert_nothing_left(bench)


def test_settings_that_are_missing_say_how_to_set_them(bench: Bench) -> None:
    for name, variable in (("project", "GOOGLE_CLOUD_PROJECT"), ("bucket", "ORCHESTRATOR_BUCKET")):
        pipeline = bench.pipeline(**{name: None})
        with pytest.raises(OrchestratorError, match=variable):
            pipeline.submit(router_plan(bench.folder), again=False)
        assert_nothing_left(bench)


def assert_nothing_left(bench: Bench) -> None:
    """No run, no object, no repo, no file but the ledger's own."""
    assert bench.ledger.run_ids() == []
    assert bench.sandbox.disk.list("sandbox-bucket", "") == []
    assert bench.sandbox.vertex.jobs() == []
    files = {path.name for path in bench.settings.home.rglob("*") if path.is_file()}
    assert all(name.startswith("ledger.db") for name in files), files


def test_rows_changed_after_the_submission_are_noticed(bench: Bench) -> None:
    pipeline = bench.pipeline()
    run, _ = pipeline.submit(router_plan(bench.folder), again=False)
    Path(run.data_folder, "train.jsonl").write_text("{}")
    outcome = pipeline.advance(run.id)
    assert outcome.error is not None
    assert "changed since" in str(outcome.error)
    assert bench.sandbox.vertex.jobs() == []


def test_a_job_that_the_service_shows_no_more_holds_the_run_until_it_comes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.submit()
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "inspect", lambda self, handles: {})  # noqa: ARG005
        assert bench.pipeline().poll()[0].status.state is RunState.QUEUED
        bench.clock.advance(bench.settings.visibility_window_s)
        outcome = bench.pipeline().poll()[0]
        assert outcome.status.state is RunState.HELD
        assert "does not show the job" in outcome.status.reason
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_weights_changed_after_their_check_are_collected_again_and_never_published(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.submit_and_train()

    def fail(*_: object, **__: object) -> str:
        raise Ambiguous("no route to the Hub")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.stores.hub.HubStore.commit", fail)
        bench.pipeline().poll()
    weights = bench.pipeline().adapter_folder(run) / "adapter_model.safetensors"
    whole = sha256_file(weights)
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])
    bench.pipeline().poll()
    assert bench.pipeline().poll([run])[0].status.state is RunState.PUBLISHED
    assert bench.facts(run).artifacts_of("published")[weights.name].sha256 == whole
    assert bench.facts(run).last("files_lost") is not None


def test_a_bug_in_one_run_does_not_keep_the_others_from_going_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.submit()
    pipeline = bench.pipeline()
    second, _ = pipeline.submit(router_plan(bench.folder, rows=24), again=False)
    pipeline.advance(second.id)
    collect = RunActions.collect

    def fail_first(self: RunActions, facts: Facts, lease: Lease) -> None:
        if facts.run.id == first:
            raise ZeroDivisionError("a bug")
        collect(self, facts, lease)

    monkeypatch.setattr(RunActions, "collect", fail_first)
    for run in (first, second.id):
        attempt = bench.facts(run).tune
        assert attempt is not None
        assert attempt.handle is not None
        bench.sandbox.vertex.wait_until_ended(attempt.handle.id)
    outcomes = {outcome.run_id: outcome for outcome in bench.pipeline().poll()}
    assert isinstance(outcomes[first].bug, ZeroDivisionError)
    assert outcomes[second.id].status.state is RunState.PUBLISHED


def test_data_that_was_lost_is_written_again_by_the_next_submission(bench: Bench) -> None:
    pipeline = bench.pipeline()
    run, _ = pipeline.submit(router_plan(bench.folder), again=False)
    Path(run.data_folder, "train.jsonl").write_text("")
    second, _ = pipeline.submit(router_plan(bench.folder), again=True)
    outcome = pipeline.advance(second.id)
    assert outcome.error is None
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_a_failed_training_is_tried_again_only_as_often_as_the_spec_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Snapshot(AttemptState.FAILED, "JOB_STATE_FAILED", error="out of memory")
    run = bench.submit()
    monkeypatch.setattr(
        VertexService,
        "inspect",
        lambda self, handles: dict.fromkeys(handles, failed),  # noqa: ARG005
    )
    outcome = bench.pipeline().poll([run])[0]
    assert outcome.status.state is RunState.FAILED
    assert "out of memory" in outcome.status.reason
    assert bench.pipeline().poll([run])[0].status.state is RunState.FAILED
    assert len(bench.sandbox.vertex.jobs()) == 1
