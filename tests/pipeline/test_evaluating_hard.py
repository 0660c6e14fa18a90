"""Evaluation, promotion and adoption at their worst moments: nothing paid twice, none unjudged."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import submission
from orchestrator.cancellation import consequences
from orchestrator.cli.session import next_command
from orchestrator.errors import InputError
from orchestrator.evaluation_actions import GivenAnswers
from orchestrator.evaluation_facts import CHANGED, candidate, evaluation, newest
from orchestrator.ledger import DamagedRun
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.edge.rules import Outcome as JobOutcome
from orchestrator.services.base import AttemptKind
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.pipeline.test_evaluating import (
    ROUTER_GATES,
    ended,
    finish,
    router,
    serving,
    submit,
    target,
)

DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def dying(module: str, owner: str, name: str, *, after: bool) -> str:
    """Lines after which a process kills itself at one of its own steps, or just behind it."""
    call = "done = real(self, *args, **kwargs)" if after else "done = None"
    return (
        f"from {module} import {owner}\nreal = {owner}.{name}\n"
        f"def dead(self, *args, **kwargs):\n    {call}\n    {DIE}\n"
        f"{owner}.{name} = dead\n"
    )


def rows_of(bench: Bench, run: str) -> list[dict[str, str]]:
    file = Path(bench.facts(run).run.data_folder) / "validation.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def given(folder: Path, rows: list[dict[str, str]], *, right: bool = True) -> GivenAnswers:
    """A person's answers to all rows."""
    file = folder / f"given-{right}.jsonl"
    lines = [{**row, "predicted": row["completion"] if right else "no plan"} for row in rows]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return GivenAnswers("tuned", file)


def trained(bench: Bench, folder: Path, more: str = ROUTER_GATES) -> str:
    """A run whose training has succeeded at the service, of which nothing more was asked yet."""
    run = submit(bench, router(folder, more))
    ended(bench)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        ("orchestrator.stores.hub_commits", "HubCommits", "commit_files", False),
        ("orchestrator.stores.hub_commits", "HubCommits", "commit_files", True),
        ("orchestrator.services.hf_jobs", "HfJobsService", "launch", True),
        ("orchestrator.evaluation_actions", "EvaluationActions", "record_answers", False),
        ("orchestrator.evaluator", "Evaluation", "write_scores", True),
        ("orchestrator.stores.hub", "HubStore", "commit", False),
        ("orchestrator.stores.hub", "HubStore", "commit", True),
        ("orchestrator.stores.hub", "HubStore", "tag", True),
    ],
    ids=lambda moment: f"{moment[2]} {'after' if moment[3] else 'before'}",
)
def test_killed_at_any_step_a_run_pays_for_one_training_and_one_job_of_answers(
    tmp_path: Path, moment: tuple[str, str, str, bool]
) -> None:
    module, owner, name, after = moment
    with serving(tmp_path, "good") as bench:
        run = trained(bench, tmp_path)
        before = dying(module, owner, name, after=after)
        for _ in range(6):
            done = bench.process(["poll", run], before=before)
            ended(bench)
            if done.returncode == -9:
                break
        assert done.returncode == -9, done.stderr
        last = max(event.at for event in bench.facts(run).events)
        bench.clock.set(last + timedelta(seconds=1))
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.PUBLISHED, outcome
        assert len(bench.sandbox.vertex.jobs()) == 1
        assert len(bench.sandbox.jobs.jobs()) == 1
        hub = bench.pipeline()._connections.hub
        published = bench.pipeline().view(run).published
        assert published is not None
        assert hub.tags(published["repo"])[published["tag"]] == published["revision"]


def lost_launch(bench: Bench, run: str) -> None:
    """The process dies before it sends the launch of the job of answers."""
    dead = dying("orchestrator.services.hf_jobs", "HfJobsService", "launch", after=False)
    done = bench.process(["poll", run], before=dead)
    assert done.returncode == -9, done.stderr
    attempt = newest(bench.facts(run), AttemptKind.GENERATE)
    assert attempt is not None
    assert attempt.handle is None
    window = timedelta(seconds=bench.settings.visibility_window_s)
    bench.clock.set(attempt.deadline_at + window)


def test_an_uncertain_job_of_answers_is_asked_for_where_it_would_be(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = trained(bench, tmp_path)
        lost_launch(bench, run)
        assert bench.pipeline().poll([run])[0].status.state is RunState.UNCERTAIN
        assert bench.sandbox.jobs.jobs() == []
        training = bench.facts(run).tune
        assert training is not None
        assert training.handle is not None
        with pytest.raises(InputError):  # a job of the other service is none of this one
            bench.pipeline().resolve(run, handle=training.handle.id, by="a person")
        bench.pipeline().resolve(run, handle=None, by="a person")
        assert finish(bench, run).status.state is RunState.PUBLISHED
        assert len(bench.sandbox.vertex.jobs()) == 1
        assert len(bench.sandbox.jobs.jobs()) == 1


def test_two_polls_at_once_pay_for_one_job_of_answers(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = trained(bench, tmp_path)
        second: list[Outcome] = []
        pipeline = bench.pipeline()
        real = pipeline._actions.launch

        def launch(*arguments: object) -> None:
            second.extend(bench.pipeline().poll([run]))
            real(*arguments)  # type: ignore[arg-type]

        pipeline._actions.launch = launch  # type: ignore[assignment,method-assign]
        pipeline.poll([run])
        assert len(second) == 1
        assert len(bench.sandbox.jobs.jobs()) == 1


def test_given_answers_take_the_place_of_a_job_that_was_not_launched_yet(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = trained(bench, tmp_path)
        lost_launch(bench, run)
        bench.pipeline().poll([run])
        outcome = bench.pipeline().evaluate(run, [given(tmp_path, rows_of(bench, run))])
        assert outcome.status.state is RunState.PUBLISHED, outcome
        assert bench.sandbox.jobs.jobs() == []


def test_given_answers_take_the_place_of_a_job_that_failed(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        bench.sandbox.faults.add(JobRule(outcome=JobOutcome.FAILED, face="jobs"))
        assert finish(bench, run).status.state is RunState.FAILED
        launched = len(bench.sandbox.jobs.jobs())
        outcome = bench.pipeline().evaluate(run, [given(tmp_path, rows_of(bench, run))])
        assert outcome.status.state is RunState.PUBLISHED, outcome
        assert len(bench.sandbox.jobs.jobs()) == launched


@pytest.mark.parametrize("way", ["override", "answers", "gates: none"])
def test_a_job_whose_answers_nobody_waits_for_any_more_is_cancelled(
    tmp_path: Path, way: str
) -> None:
    with serving(tmp_path, "good") as bench:
        bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK, face="jobs"))
        run = submit(bench, router(tmp_path))
        for one in bench.sandbox.vertex.jobs():
            bench.sandbox.vertex.wait_until_ended(one.name)
        bench.pipeline().poll([run])
        (job,) = bench.sandbox.jobs.jobs()
        pipeline = bench.pipeline()
        if way == "override":
            outcome = pipeline.override(run, reason="seen by hand", by="ada")
        elif way == "answers":
            outcome = pipeline.evaluate(run, [given(tmp_path, rows_of(bench, run))])
        else:
            pipeline.judge_by(run, None, ())
            outcome = pipeline.advance(run)
        assert outcome.status.state is RunState.PUBLISHED, outcome
        bench.sandbox.jobs.wait_until_ended(job.id)
        assert any("nobody waits for its answers" in line for line in bench.told)
        assert len(bench.sandbox.jobs.jobs()) == 1


def test_a_run_cancelled_while_it_is_answered_launches_nothing_more(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK, face="jobs"))
        run = submit(bench, router(tmp_path))
        for one in bench.sandbox.vertex.jobs():
            bench.sandbox.vertex.wait_until_ended(one.name)
        bench.pipeline().poll([run])
        (job,) = bench.sandbox.jobs.jobs()
        said = " ".join(consequences(bench.facts(run), bench.pipeline().view(run).status))
        assert "the tuned model stays, and this job leaves no answers" in said
        assert "whole job" not in said  # what the plan estimates is the training's cost
        bench.pipeline().cancel(run)
        bench.sandbox.jobs.wait_until_ended(job.id)
        outcome = bench.pipeline().poll([run])[0]
        assert outcome.status.state is RunState.CANCELLED, outcome
        assert bench.pipeline().poll([run])[0].status.action is Action.DONE
        # What was trained is not to be paid for once more.
        following = f"orchestrator evaluate {run} --predictions FILE"
        assert next_command(run, outcome.status) == following
        held = bench.pipeline().override(run, reason="seen by hand", by="ada")
        assert held.status.state is RunState.HELD  # it was cancelled, after all
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None
        assert bench.pipeline().publish_again(run).status.state is RunState.PUBLISHED
        assert len(bench.sandbox.vertex.jobs()) == 1
        assert len(bench.sandbox.jobs.jobs()) == 1


def test_a_wrong_file_of_answers_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        before = evaluation(bench.facts(run))
        other = [{**row, "prompt": "something else"} for row in rows_of(bench, run)[:1]]
        wrong = given(tmp_path, other)
        with pytest.raises(InputError, match="no prediction belongs"):
            bench.pipeline().evaluate(run, [wrong])
        for name in ("constant", "majority", "scores"):
            with pytest.raises(InputError, match="cannot be given as"):
                bench.pipeline().evaluate(run, [GivenAnswers(name, wrong.file)])
        assert evaluation(bench.facts(run)) == before
        folder = bench.pipeline().run_folder(run) / "answers"
        assert "something else" not in (folder / "tuned.jsonl").read_text(encoding="utf-8")


def test_nothing_is_judged_by_gates_that_were_lost(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        assert finish(bench, run).status.state is RunState.HELD
        with bench.ledger.lease(run) as lease:
            assert lease is not None
            lease.add_event(CHANGED, {"evaluation": None})
        outcome = bench.pipeline().poll([run])[0]
        assert isinstance(outcome.error, DamagedRun)
        assert outcome.bug is None
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None


def test_files_that_changed_after_they_were_judged_are_not_published(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        first = bench.pipeline()
        made = run
        assert finish(bench, run).status.state is RunState.HELD
        kept = shutil.copytree(first.run_folder(made) / "collected", tmp_path / "kept")
        run = first.adopt(router(tmp_path, seed=43), str(kept)).id
        first.advance(run)
        assert finish(bench, run).status.state is RunState.HELD
        weights = kept / "adapter_model.safetensors"
        spoiled = bytearray(weights.read_bytes())
        spoiled[-1] ^= 1
        weights.write_bytes(bytes(spoiled))
        shutil.rmtree(bench.pipeline().run_folder(run) / "collected")
        shutil.rmtree(bench.pipeline().run_folder(run) / "adapter")
        outcome = bench.pipeline().override(run, reason="it is good", by="ada")
        assert outcome.status.state is RunState.FAILED, outcome
        assert "is not what was judged before" in outcome.status.reason
        offered = candidate(bench.facts(run))
        assert offered is not None
        uri = f"hf://models/{offered.data['repo']}@{offered.data['revision']}"
        assert uri in outcome.status.reason
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None
        again = bench.pipeline().adopt(router(tmp_path, seed=43), uri).id
        bench.pipeline().advance(again)
        assert finish(bench, again).status.state is RunState.HELD  # as weak as before


def test_two_adoptions_at_once_make_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, "good") as bench:
        first = submit(bench, router(tmp_path, "gates: none\n"))
        assert finish(bench, first).status.state is RunState.PUBLISHED
        kept = shutil.copytree(bench.pipeline().run_folder(first) / "collected", tmp_path / "kept")
        made = router(tmp_path, "gates: none\n", seed=43)
        real = submission.write_data
        added: list[str] = []

        def meanwhile(*arguments: object) -> Path:
            if not added:
                added.append("")
                added[0] = bench.pipeline().adopt(made, str(kept)).id
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(submission, "write_data", meanwhile)
        with pytest.raises(InputError, match="already"):
            bench.pipeline().adopt(made, str(kept))
        assert {*bench.ledger.run_ids()} == {first, *added}


def test_nothing_is_ever_trained_for_an_adopted_run(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        first = submit(bench, router(tmp_path))
        assert finish(bench, first).status.state is RunState.PUBLISHED
        kept = shutil.copytree(bench.pipeline().run_folder(first) / "collected", tmp_path / "kept")
        made = router(tmp_path, seed=43)
        run = bench.pipeline().adopt(made, str(kept)).id
        shutil.move(kept, tmp_path / "moved")
        bench.pipeline().advance(run)
        attempt = bench.facts(run).tune
        assert attempt is not None
        bench.clock.set(attempt.intent_at + timedelta(hours=1))
        outcome = bench.pipeline().poll([run])[0]
        assert outcome.status.state is RunState.FAILED, outcome
        assert "--retry" not in outcome.status.reason
        with pytest.raises(InputError, match="nothing is ever trained for it"):
            bench.pipeline().retry(run)
        with bench.ledger.lease(run) as lease:  # whatever else would ask for another attempt
            assert lease is not None
            lease.add_event("retry_requested", {"by": "a person"}, attempt.id)
        assert bench.pipeline().poll([run])[0].status.action is Action.DONE
        assert len(bench.sandbox.vertex.jobs()) == 1
        shutil.move(tmp_path / "moved", kept)
        again = bench.pipeline().adopt(made, str(kept)).id
        assert again != run
        for what, says in (
            ("", "is empty"),
            (str(tmp_path / "spec.yaml"), "no file of weights"),
            ("x" * 5000, "knows no job"),
        ):
            with pytest.raises(InputError, match=says):
                bench.pipeline().adopt(made, what)
