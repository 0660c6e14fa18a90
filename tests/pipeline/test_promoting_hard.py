"""What a person decides, and what others publish meanwhile, opens no way around the gates."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation_facts import evaluation, newest, planned
from orchestrator.report.card import run_tag
from orchestrator.services.base import AttemptKind
from orchestrator.settings import HUB
from orchestrator.spec import SpecError
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.pipeline.test_evaluating import (
    ROUTER_GATES,
    finish,
    router,
    serving,
    submit,
    target,
    until_offered,
)
from tests.pipeline.test_killed import AFTER_CREATE, submit_and_die
from tests.plans import router_plan
from tests.router_spec import SPEC, plan

BETTER = """
evaluation: {scorer: route-plan, split: validation}
gates:
  - {metric: exact_tool_sequence, better_than: published, confidence: 0.5}
"""


def published_by_others(bench: Bench, run: str, folder: Path, name: str) -> None:
    """Somebody commits a file to the target of a run."""
    hub = bench.pipeline()._connections.hub
    head = hub.ensure_repo(target(bench, run), private=False)
    (folder / name).write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    hub.commit(target(bench, run), {name: folder / name}, message="Other", parent_commit=head)


@pytest.mark.parametrize(
    ("name", "state"),
    [("other.gguf", RunState.HELD), ("README.md", RunState.PUBLISHED)],
)
def test_a_published_model_that_cannot_answer_does_not_pass_the_comparison_with_it(
    tmp_path: Path, name: str, state: RunState
) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path, BETTER))
        published_by_others(bench, run, tmp_path, name)
        outcome = finish(bench, run)
        assert outcome.status.state is state, outcome
        if state is RunState.HELD:
            assert "there are no answers of published" in outcome.status.reason


def test_only_a_person_who_was_shown_the_other_commit_lets_a_run_publish_on_it(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        until_offered(bench, run)
        with bench.ledger.lease(run) as lease:  # as after a wish to cancel that came too late
            assert lease is not None
            lease.add_event("publish_released")
        published_by_others(bench, run, tmp_path, "other.gguf")
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD, outcome
        assert "somebody published meanwhile" in outcome.status.reason
        assert bench.pipeline().publish_again(run).status.state is RunState.PUBLISHED


@pytest.mark.parametrize("change", ["delete_repo", "super_squash_history"])
def test_a_target_that_is_no_longer_what_it_was_judged_beside_holds_the_run(
    tmp_path: Path, change: str
) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        published_by_others(bench, run, tmp_path, "other.gguf")
        until_offered(bench, run)
        hub = bench.pipeline()._connections.hub
        getattr(hub._api(), change)(target(bench, run))
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD, outcome
        assert "somebody published meanwhile" in outcome.status.reason
        assert "adapter_model.safetensors" not in hub.files(target(bench, run), "main")
        assert bench.pipeline().publish_again(run).status.state is RunState.PUBLISHED


def test_a_target_that_was_renamed_is_published_to_under_its_new_name(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        published_by_others(bench, run, tmp_path, "other.gguf")
        until_offered(bench, run)
        hub = bench.pipeline()._connections.hub
        renamed = f"{target(bench, run)}-renamed"
        hub._api().move_repo(target(bench, run), renamed)
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.PUBLISHED, outcome
        assert hub.tags(renamed)[run_tag(run)] == hub.head(renamed)


@pytest.mark.parametrize("written", [True, False])
def test_a_public_repo_is_no_place_for_what_shall_be_private(
    bench: Bench, tmp_path: Path, written: bool
) -> None:
    repo = bench.pipeline()._connections.hub.check_write("router-llama-3.1-8b-adapter")
    bench.pipeline()._connections.hub.ensure_repo(repo, private=False)
    text = SPEC if written else SPEC.replace("  private: true\n", "")
    assert written == (text == SPEC)
    prepared = plan(tmp_path, spec=text, limit=20)
    if written:
        with pytest.raises(InputError, match=r"but .* is there already, and public"):
            bench.pipeline().submit(prepared, again=False)
        assert bench.ledger.run_ids() == []
    else:
        bench.pipeline().submit(prepared, again=False)
        assert any(line.startswith(f"warning: {repo} is there already") for line in bench.told)


def test_a_tag_that_somebody_set_holds_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        hub = bench.pipeline()._connections.hub
        first = hub.ensure_repo(target(bench, run), private=False)
        hub.tag(target(bench, run), run_tag(run), first)
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD, outcome
        assert "take that tag away on the Hub" in outcome.status.reason
        head = hub.head(target(bench, run))
        hub._api().delete_tag(target(bench, run), tag=run_tag(run))
        assert bench.pipeline().publish_again(run).status.state is RunState.PUBLISHED
        assert hub.head(target(bench, run)) == head  # one commit, whatever happened


def test_a_candidate_never_goes_into_a_public_repo(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        hub, repo = bench.pipeline()._connections.hub, bench.facts(run).run.target.candidates
        assert repo is not None
        hub._api().create_repo(repo, private=False, exist_ok=True)
        outcome = finish(bench, run)
        assert outcome.error is not None
        assert f"{repo} is public" in str(outcome.error)
        assert hub.files(repo, "main").keys() <= {".gitattributes"}
        assert bench.sandbox.jobs.jobs() == []


@pytest.mark.parametrize("against", ["base", "few-shot", "published"])
def test_a_gate_that_an_endpoint_cannot_answer_for_is_refused_before_anything_is_paid(
    tmp_path: Path, against: str
) -> None:
    block = (
        "{scorer: route-plan, split: validation, service: endpoint, model: m, url: 'http://x/v1'}"
    )
    more = BETTER.replace("{scorer: route-plan, split: validation}", block)
    with pytest.raises(SpecError, match="which the endpoint does not answer as"):
        router(tmp_path, more.replace("better_than: published", f"better_than: {against}"))


def test_answers_that_are_there_are_not_called_those_of_another_question(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        before = planned(bench.facts(run))
        assert before is not None
        other = ROUTER_GATES.replace("validation", "validation, few_shot: 1, max_new_tokens: 9")
        plan = router(tmp_path, other.replace("0.9", "0").replace("0.7", "0")).plan
        assert plan.evaluation != before
        bench.pipeline().judge_by(run, plan.evaluation, plan.gates)
        assert planned(bench.facts(run)) == before
        assert bench.pipeline().evaluate(run).status.state is RunState.PUBLISHED
        found = evaluation(bench.facts(run))
        assert found is not None
        few_shot = Evidence.from_json(found.data).condition("few-shot")
        assert few_shot is not None
        assert f"shown {before.shots} training rows" in few_shot.note


def test_an_evaluation_holds_for_one_training_only(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        facts = bench.facts(run)
        first = newest(facts, AttemptKind.GENERATE)
        assert first is not None
        with bench.ledger.lease(run) as lease:  # its files are nowhere any more, and it is retried
            assert lease is not None
            assert facts.tune is not None
            lease.add_event("files_lost", {"kind": "collected", "files": ["a"]})
            lease.add_event("nothing_collected", {"reason": "gone"}, facts.tune.id)
            lease.add_event("retry_requested", {"by": "a person"}, facts.tune.id)
        outcome = finish(bench, run)
        facts = bench.facts(run)
        assert facts.tune is not None
        assert facts.tune.ordinal == 2
        second = newest(facts, AttemptKind.GENERATE)
        assert second is not None
        assert second.ordinal == 2  # the answers of the first training say nothing of this one
        assert outcome.status.state is RunState.HELD, outcome
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None


def test_a_job_that_was_found_again_gets_its_rows_staged_anew(bench: Bench) -> None:
    run = submit_and_die(bench, AFTER_CREATE)
    bench.pipeline().poll()
    facts = bench.facts(run)
    assert facts.last("adopted") is not None
    pipeline = bench.pipeline()
    store = pipeline._connections.store(facts.run.target)
    uris = [one.uri for one in facts.artifacts_of("staged").values()]
    for uri in uris:
        stored = store.stat(uri)
        assert stored is not None
        store.delete(stored)
    with bench.ledger.lease(run) as lease:
        assert lease is not None
        pipeline._actions.stage(facts, lease)
    assert all(store.stat(uri) is not None for uri in uris)


def test_the_weights_of_a_rehearsal_never_reach_the_real_hub(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        first = submit(bench, router(tmp_path, "gates: none\n"))
        assert finish(bench, first).status.state is RunState.PUBLISHED
        kept = shutil.copytree(bench.pipeline().run_folder(first) / "collected", tmp_path / "kept")
        run = bench.pipeline().adopt(router(tmp_path, "gates: none\n", seed=43), str(kept)).id
        outcome = bench.pipeline(hub_endpoint=HUB).advance(run)
        assert outcome.status.state is RunState.FAILED, outcome
        assert "rehearsal's stand-in" in outcome.status.reason


def test_a_run_of_a_release_that_knew_no_evaluation_goes_on_as_it_was_planned(
    bench: Bench,
) -> None:
    run, _ = bench.pipeline().submit(router_plan(bench.folder), again=False)
    connection = sqlite3.connect(bench.settings.home / "ledger.db")
    ((text,),) = connection.execute("select plan from runs").fetchall()
    plan = json.loads(text)
    del plan["evaluation"], plan["spec"]["evaluation"], plan["spec"]["gates"]
    connection.execute("update runs set plan = ?", (json.dumps(plan),))
    ((text,),) = connection.execute("select target from runs").fetchall()
    where = json.loads(text)
    del where["jobs_namespace"], where["jobs_rows"]
    connection.execute("update runs set target = ?", (json.dumps(where),))
    connection.commit()
    connection.close()
    same, is_new = bench.pipeline().submit(router_plan(bench.folder), again=False)
    assert (same.id, is_new) == (run.id, False)
    bench.pipeline().advance(run.id)
    outcome = bench.finish(run.id)
    assert outcome.status.state is RunState.PUBLISHED
    assert outcome.status.action is Action.DONE
    assert len(bench.sandbox.vertex.jobs()) == 1
    with pytest.raises(InputError, match="is published"):
        bench.pipeline().judge_by(run.id, None, ())
    for command in (["show", run.id], ["evaluate", run.id], ["publish", run.id], ["runs"]):
        done = bench.process(command)
        assert "bug" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_commands_look_for_a_job_of_answers_where_it_ran(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        done = bench.process(["logs", run])
        assert done.returncode == 0, done.stderr
        assert '"event"' in done.stdout
        kept = shutil.copytree(bench.pipeline().run_folder(run) / "collected", tmp_path / "kept")
        adopted = bench.pipeline().adopt(router(tmp_path, "gates: none\n", seed=43), str(kept)).id
        done = bench.process(["logs", adopted])
        assert (done.returncode, "has no job yet" in done.stderr) == (2, True), done.stderr
        swept = bench.process(["gc"])
        assert swept.returncode == 0, swept.stderr


def test_an_evaluation_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        attempt = bench.facts(run).tune
        assert attempt is not None
        with bench.ledger.lease(run) as lease:
            assert lease is not None
            lease.add_event("evaluated", {"passed": "yes", "failed": ["lost"]}, attempt.id)
        for command, code in ((["show", run], 0), (["evaluate", run], 2)):
            done = bench.process(command)
            assert done.returncode == code, done.stderr
            assert "recorded by another release" in done.stdout + done.stderr
        # A text is no verdict, whatever it says.
        assert bench.pipeline().poll([run])[0].status.state is RunState.HELD
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None
