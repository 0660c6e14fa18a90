"""Runs on Hugging Face Jobs, from a spec to a published adapter, on the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.ledger import AttemptFacts
from orchestrator.pipeline import Outcome
from orchestrator.preflight import PreflightError
from orchestrator.sandbox.edge.rules import JobRule, RequestRule
from orchestrator.sandbox.edge.rules import Outcome as JobOutcome
from orchestrator.sandbox.jobs.records import JobRecord
from orchestrator.services.base import AttemptKind, AttemptState
from orchestrator.state import Action, RunState
from orchestrator.stores.hub_objects import HubUri
from tests.pipeline.bench import Bench
from tests.plans import jobs_plan

EXPORTED = "\nexport:\n  format: gguf\n"


def submit(bench: Bench, *, adapter: bool = False, more: str = "") -> str:
    pipeline = bench.pipeline()
    prepared = jobs_plan(bench.folder, adapter=adapter, more=more)
    run, _ = pipeline.submit(prepared, again=False)
    pipeline.advance(run.id)
    return run.id


def finish(bench: Bench, run: str) -> Outcome:
    """Poll while jobs come to their ends, until nothing more can be done."""
    for _ in range(12):
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
        for job in bench.sandbox.jobs.jobs():
            bench.sandbox.jobs.wait_until_ended(job.id)
    return outcome


def only_job(bench: Bench) -> JobRecord:
    (job,) = bench.sandbox.jobs.jobs()
    return job


def tune(bench: Bench, run: str) -> AttemptFacts:
    attempt = bench.facts(run).tune
    assert attempt is not None
    return attempt


def test_a_run_ends_published_with_one_job(bench: Bench) -> None:
    run = submit(bench)
    assert tune(bench, run).handle is not None
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    assert only_job(bench).stage == "COMPLETED"
    assert tune(bench, run).snapshot is not None
    published = bench.pipeline().view(run).published
    assert published is not None
    assert "adapter_model.safetensors" in bench.pipeline()._connections.hub.files(
        published["repo"], published["revision"]
    )


def test_scripts_and_rows_are_one_commit_that_the_job_mounts(bench: Bench) -> None:
    run = submit(bench)
    staged = bench.facts(run).artifacts_of("staged")
    revisions = {HubUri.of(item.uri).revision for item in staged.values()}
    assert len(revisions) == 1
    assert {"train", "validation", "probe", "code/job.py", "code/sft.py", "code/calls.py"} <= set(
        staged
    )
    (volume,) = only_job(bench).request.volumes
    assert (volume.type, volume.source) == ("dataset", "sandbox-user/orchestrator-staging")
    assert {volume.revision} == revisions


def test_the_same_rows_and_scripts_are_not_committed_again(bench: Bench) -> None:
    first = submit(bench)
    pipeline = bench.pipeline()
    again, _ = pipeline.submit(jobs_plan(bench.folder), again=True)
    pipeline.advance(again.id)
    one, other = (bench.facts(run).artifacts_of("staged")["train"].uri for run in (first, again.id))
    assert one == other


def test_results_stay_in_a_private_repo_until_they_are_published(bench: Bench) -> None:
    from orchestrator.stores.hub import HubStore

    run = submit(bench)
    finish(bench, run)
    candidates = bench.facts(run).run.target.candidates
    assert candidates == "sandbox-user/functiongemma-support-router-candidates"
    assert bench.pipeline()._connections.hub.head(candidates, run) is not None
    assert HubStore(bench.settings.hub_endpoint, None).head(candidates, run) is None


def test_the_job_has_a_timeout_a_namespace_and_its_secrets_by_name_only(bench: Bench) -> None:
    run = submit(bench)
    job = only_job(bench)
    machine = bench.facts(run).run.plan.machine
    assert machine is not None
    assert job.request.timeout_s == machine.timeout_s
    assert job.request.flavor == machine.flavor
    token = bench.settings.hub_token
    assert token
    assert job.secret_names == ("HF_TOKEN",)
    written = b"".join(file.read_bytes() for file in bench.settings.home.rglob("*.db*"))
    assert token.encode() not in written


def test_metrics_of_the_training_are_in_the_ledger(bench: Bench) -> None:
    run = submit(bench)
    finish(bench, run)
    assert {point.name for point in bench.ledger.metrics(run)} >= {"loss"}


def test_a_launch_whose_answer_was_lost_is_found_and_paid_once(bench: Bench) -> None:
    bench.sandbox.faults.add(
        RequestRule(
            face="jobs",
            operation="POST",
            target="/api/jobs/sandbox-user$",
            effect="drop",
            after=True,
        )
    )
    run = submit(bench)
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    assert bench.facts(run).last("adopted") is not None
    assert len(bench.sandbox.jobs.jobs()) == 1


def test_a_job_that_completes_with_nothing_to_show_has_failed(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.PARTIAL))
    run = submit(bench)
    finish(bench, run)
    bench.clock.advance(400 * 86400.0)  # past the day of the face, and the time that lists may lag
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.FAILED, outcome
    assert "there is no adapter" in outcome.status.reason


def test_an_attempt_after_a_failed_one_goes_on_from_its_checkpoints(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.EXPIRED))
    run = submit(bench, more="\nmax_attempts: 2\n")
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    first, second = bench.facts(run).attempts
    assert first.snapshot is not None
    assert first.snapshot.state is AttemptState.FAILED
    newest = bench.sandbox.jobs.jobs()[0]
    command = newest.request.command
    assert command[command.index("--resume-from-prefix") + 1] == first.id
    assert command[command.index("--prefix") + 1] == second.id


def test_a_run_with_not_a_number_among_its_weights_is_refused(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.NAN_WEIGHTS))
    run = submit(bench)
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.FAILED
    assert "NaN" in outcome.status.reason


def test_a_run_is_cancelled_with_its_job(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK))
    run = submit(bench)
    bench.pipeline().cancel(run)
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.CANCELLED
    assert only_job(bench).stage == "CANCELED"


def test_a_token_that_may_not_write_is_refused_before_anything_is_written(bench: Bench) -> None:
    pipeline = bench.pipeline(hub_token=bench.sandbox.tokens.hub_read)
    with pytest.raises(PreflightError, match="orchestrator-staging"):
        pipeline.submit(jobs_plan(bench.folder), again=False)
    assert bench.sandbox.jobs.jobs() == []
    assert list(bench.ledger.run_ids()) == []


def test_the_plan_of_hf_jobs_is_the_same_for_whoever_pays(tmp_path: Path) -> None:
    mine = jobs_plan(tmp_path).plan
    text = (tmp_path / "spec.yaml").read_text(encoding="utf-8")
    assert "  name: hf-jobs\n" in text
    theirs = text.replace("  name: hf-jobs\n", "  name: hf-jobs\n  namespace: my-team\n")
    from tests.router_spec import plan

    other = plan(tmp_path, spec=theirs, data=tmp_path / "support-router.jsonl", limit=30).plan
    assert mine.digest == other.digest
    assert mine.machine is not None
    assert AttemptKind.TUNE.value in mine.attempt_kinds


def test_an_adapter_is_merged_and_exported_before_it_is_published(bench: Bench) -> None:
    run = submit(bench, adapter=True, more=EXPORTED)
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    facts = bench.facts(run)
    assert [attempt.kind.value for attempt in facts.attempts] == ["tune", "merge", "export"]
    merged, exported = (event for event in facts.events if event.kind == "produced")
    assert merged.data["source"].endswith("/merged")
    assert "functiongemma-support-router.gguf" in exported.data["files"]
    # The export starts from the commit at which the merge was found.
    volumes = bench.sandbox.jobs.jobs()[0].request.volumes
    assert HubUri.of(merged.data["source"]).revision in {volume.revision for volume in volumes}


def test_a_cancelled_run_is_not_exported(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK, target="merge.py"))
    run = submit(bench, adapter=True, more=EXPORTED)
    bench.sandbox.jobs.wait_until_ended(only_job(bench).id)
    bench.pipeline().poll([run])  # collects and checks the adapter, and launches the merge
    bench.pipeline().poll([run])
    bench.pipeline().cancel(run)
    assert finish(bench, run).status.state is RunState.CANCELLED
    assert {job.stage for job in bench.sandbox.jobs.jobs()} == {"COMPLETED", "CANCELED"}


def test_a_secret_that_is_not_there_is_named_before_anything_is_written(bench: Bench) -> None:
    named = ("  timeout: 2h\n", "  timeout: 2h\n  secrets: [MY_KEY]\n")
    prepared = jobs_plan(bench.folder, replace=named)
    with pytest.raises(InputError, match="MY_KEY"):
        bench.pipeline().submit(prepared, again=False)
    assert list(bench.ledger.run_ids()) == []
    pipeline = bench.pipeline(secrets={"MY_KEY": "value-of-it"})
    run, _ = pipeline.submit(prepared, again=False)
    pipeline.advance(run.id)
    assert only_job(bench).secret_names == ("HF_TOKEN", "MY_KEY")


def test_cleaning_up_leaves_repos_of_the_hub_alone(bench: Bench) -> None:
    from datetime import timedelta

    from orchestrator.connections import Connections
    from orchestrator.sweeping import Sweeper

    finish(bench, submit(bench))
    sweeper = Sweeper(
        bench.settings, bench.ledger, Connections(bench.settings, bench.clock), bench.clock
    )
    found = sweeper.survey(older_than=timedelta(), others=True)
    assert found.problems == ()
    assert not [item.name for item in found.items if "hf://" in item.name]


def test_the_card_says_where_and_how_it_was_trained(bench: Bench) -> None:
    run = submit(bench)
    finish(bench, run)
    card = (bench.pipeline().adapter_folder(run) / "README.md").read_text(encoding="utf-8")
    assert "tuned on Hugging Face Jobs" in card
    assert "| batch | 4 rows × 3 |" in card
    assert "not a usable model" in card
