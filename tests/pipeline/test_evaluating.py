"""From a checked adapter to a verdict: candidate, answers, gates, promotion."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from orchestrator import evaluation_actions
from orchestrator.audits import Audits
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation_actions import GivenAnswers
from orchestrator.evaluation_facts import candidate, evaluation
from orchestrator.evaluator import Evaluation, Question, evaluate
from orchestrator.garbage import Category
from orchestrator.pipeline import Outcome
from orchestrator.planner import Prepared
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.edge.rules import Outcome as JobOutcome
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.sandbox.standins.base import Answers, StandInOptions
from orchestrator.services.base import AttemptKind
from orchestrator.state import Action, RunState
from orchestrator.sweeping import Sweeper
from tests.answering.server import asked_in, said, status
from tests.answering.server import serving as endpoint_serving
from tests.pipeline.bench import Bench
from tests.plans import jobs_plan
from tests.router_spec import SPEC, plan
from tests.sandbox.hub.openapi_judge import Judge

Service = Literal["vertex", "hf-jobs"]
ROUTER_GATES = """
evaluation: {scorer: route-plan, split: validation}
gates:
  - {metric: json_validity, min: 0.9}
  - {metric: exact_tool_sequence, min: 0.7}
"""
CALLS_GATES = """
evaluation: {scorer: calls}
gates:
  - {metric: tool, min: 0.8, better_than: base}
"""


@contextmanager
def serving(folder: Path, answers: Answers) -> Iterator[Bench]:
    state = folder / "sandbox"
    state.mkdir(exist_ok=True)
    options = SandboxOptions(stand_in="replay", training=StandInOptions(answers=answers))
    with Sandbox(state, options) as sandbox:
        sandbox.hub_app.add_middleware(Judge)
        bench = Bench(sandbox, folder)
        try:
            yield bench
        finally:
            bench.ledger.close()


def router(folder: Path, more: str = ROUTER_GATES, seed: int = 42) -> Prepared:
    text = SPEC.replace("gates: none\n", more).replace("seed: 42", f"seed: {seed}")
    return plan(folder, spec=text)


def support(folder: Path) -> Prepared:
    return jobs_plan(folder, rows=150, adapter=True, replace=("gates: none\n", CALLS_GATES))


def submit(bench: Bench, prepared: Prepared) -> str:
    pipeline = bench.pipeline()
    run, _ = pipeline.submit(prepared, again=False)
    pipeline.advance(run.id)
    return run.id


def finish(bench: Bench, run: str, *, job_s: float = 60) -> Outcome:
    """Poll while jobs come to their ends, until nothing more can be done."""
    for _ in range(12):
        ended(bench, job_s)
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
    return outcome


def ended(bench: Bench, job_s: float = 60) -> None:
    for one in bench.sandbox.vertex.jobs():
        bench.sandbox.vertex.wait_until_ended(one.name)
    for job in bench.sandbox.jobs.jobs():
        bench.sandbox.jobs.wait_until_ended(job.id, timeout_s=job_s)


def until_offered(bench: Bench, run: str) -> None:
    """Poll until the candidate is there and its answers are being generated."""
    for _ in range(12):
        if candidate(bench.facts(run)) is not None:
            return
        ended(bench)
        bench.pipeline().poll([run])
    pytest.fail("no candidate was offered")


def anonymous(bench: Bench, repo: str) -> int:
    """What somebody without a token gets of a repo."""
    return httpx.get(f"{bench.settings.hub_endpoint}/api/models/{repo}").status_code


def target(bench: Bench, run: str) -> str:
    repo = bench.facts(run).run.target.repo
    assert repo is not None
    return repo


@pytest.mark.parametrize("service", ["vertex", "hf-jobs"])
def test_a_good_adapter_is_offered_judged_promoted_and_tagged(
    tmp_path: Path, service: Service
) -> None:
    with serving(tmp_path, "good") as bench:
        made = router(tmp_path) if service == "vertex" else support(tmp_path)
        run = submit(bench, made)
        until_offered(bench, run)
        facts = bench.facts(run)
        offered = candidate(facts)
        assert offered is not None
        hub = bench.pipeline()._connections.hub
        files = hub.files(offered.data["repo"], offered.data["revision"])
        assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
        assert anonymous(bench, offered.data["repo"]) in (401, 404)
        assert hub.head(target(bench, run)) is None
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.PUBLISHED, outcome
        published = bench.pipeline().view(run).published
        assert published is not None
        assert hub.tags(published["repo"])[published["tag"]] == published["revision"]
        for name, file in files.items():
            if name.endswith(".safetensors"):
                there = hub.files(published["repo"], published["revision"])[name]
                assert there.sha256 == file.sha256
        found = evaluation(bench.facts(run))
        assert found is not None
        evidence = Evidence.from_json(found.data)
        assert [one.name for one in evidence.conditions] == [
            "tuned",
            "base",
            "few-shot",
            "constant",
            "majority",
        ]
        assert [one.kind for one in bench.facts(run).attempts] == [
            AttemptKind.TUNE,
            AttemptKind.GENERATE,
        ]


@pytest.mark.parametrize("service", ["vertex", "hf-jobs"])
def test_a_weak_adapter_is_held_with_its_evidence_and_nothing_is_published(
    tmp_path: Path, service: Service
) -> None:
    with serving(tmp_path, "weak") as bench:
        made = router(tmp_path) if service == "vertex" else support(tmp_path)
        run = submit(bench, made)
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD
        assert "wanted" in outcome.status.reason
        assert f'orchestrator publish {run} --override "REASON"' in outcome.status.reason
        assert anonymous(bench, target(bench, run)) in (401, 404)
        assert bench.pipeline()._connections.hub.head(target(bench, run)) is None
        assert bench.pipeline().poll() == []  # a held run waits for a person, not for polls


def test_an_override_publishes_and_says_why(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        finish(bench, run)
        with pytest.raises(InputError, match="needs a reason"):
            bench.pipeline().override(run, reason="  ", by="ada")
        outcome = bench.pipeline().override(run, reason="the slice is tiny", by="ada")
        assert outcome.status.state is RunState.PUBLISHED
        event = bench.facts(run).last("gates_overridden")
        assert event is not None
        assert event.data == {"reason": "the slice is tiny", "by": "ada"}


def test_of_two_runs_for_one_target_one_wins_and_the_other_is_held(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        runs = [submit(bench, router(tmp_path, seed=seed)) for seed in (42, 43)]
        for run in runs:
            until_offered(bench, run)
        assert finish(bench, runs[0]).status.state is RunState.PUBLISHED
        hub = bench.pipeline()._connections.hub
        head = hub.head(target(bench, runs[0]))
        second = finish(bench, runs[1])
        assert second.status.state is RunState.HELD
        assert "somebody published meanwhile" in second.status.reason
        assert hub.head(target(bench, runs[0])) == head
        for run in runs:
            offered = candidate(bench.facts(run))
            assert offered is not None
            files = hub.files(offered.data["repo"], offered.data["revision"])
            assert "adapter_model.safetensors" in files
        only_the_winners_branch_is_removed(bench, *runs)
        assert bench.pipeline().publish_again(runs[1]).status.state is RunState.PUBLISHED


def only_the_winners_branch_is_removed(bench: Bench, winner: str, held: str) -> None:
    """Cleaning up leaves what may still be published, and what only another ledger knows."""
    connections = bench.pipeline()._connections
    sweeper = Sweeper(bench.settings, bench.ledger, connections, bench.clock)
    offered = [candidate(bench.facts(run)) for run in (winner, held)]
    (repo,) = {one.data["repo"] for one in offered if one is not None}
    made, kept = (one.data["branch"] for one in offered if one is not None)
    api = connections.hub_commits._api()
    api.create_branch(repo, branch="candidate-of-others", revision="main")
    before = {one.name for one in api.list_repo_refs(repo).branches}
    found = sweeper.survey(older_than=timedelta(), others=True)
    (item,) = [one for one in found.items if one.category is Category.CANDIDATES]
    assert item.branch is not None
    sweeper.remove(item)
    after = {one.name for one in api.list_repo_refs(repo).branches}
    assert before - after == {made}
    assert {kept, "candidate-of-others"} <= after
    again = sweeper.survey(older_than=timedelta(), others=True)
    assert not [one for one in again.items if one.category is Category.CANDIDATES]


def test_a_later_run_is_compared_with_what_is_published(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        first = submit(bench, router(tmp_path))
        assert finish(bench, first).status.state is RunState.PUBLISHED
        second = submit(bench, router(tmp_path, seed=43))
        until_offered(bench, second)
        offered = candidate(bench.facts(second))
        published = bench.pipeline().view(first).published
        assert offered is not None
        assert published is not None
        assert offered.data["target_head"] == published["revision"]
        assert offered.data["published"] == "adapter"
        assert finish(bench, second).status.state is RunState.PUBLISHED
        found = evaluation(bench.facts(second))
        assert found is not None
        assert Evidence.from_json(found.data).condition("published") is not None
        assert not [line for line in bench.told if line.startswith("warning")]


def test_answers_that_are_broken_end_the_run_and_a_person_decides(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        files = ("base/predictions.jsonl",)
        bench.sandbox.faults.add(
            JobRule(outcome=JobOutcome.CUT_FILES, face="jobs", target="generate.py", files=files)
        )
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.FAILED, outcome
        assert "the answers of base are broken: line 4: " in outcome.status.reason
        assert "--retry" in outcome.status.reason
        with pytest.raises(InputError, match="no answers by which it could be judged"):
            bench.pipeline().publish_again(run)
        bench.sandbox.faults.clear()
        bench.pipeline().retry(run)
        assert finish(bench, run).status.state is RunState.PUBLISHED


def test_without_a_job_the_answers_are_waited_for_and_taken_from_a_file(tmp_path: Path) -> None:
    more = ROUTER_GATES.replace("split: validation", "split: validation, service: file")
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path, more))
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD
        assert "orchestrator evaluate" in outcome.status.reason
        rows = Path(bench.facts(run).run.data_folder) / "validation.jsonl"
        wrong, right = tmp_path / "wrong.jsonl", tmp_path / "right.jsonl"
        texts = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
        wrong.write_text(
            "".join(json.dumps({**row, "predicted": "no plan"}) + "\n" for row in texts)
        )
        right.write_text(rows.read_text(encoding="utf-8"), encoding="utf-8")
        held = bench.pipeline().evaluate(run, [GivenAnswers("tuned", wrong)])
        assert held.status.state is RunState.HELD
        assert "json_validity 0.000" in held.status.reason
        judged = evaluation(bench.facts(run))
        assert judged is not None
        assert judged.data["conditions"][0]["note"].endswith("; its answers were given as a file")
        done = bench.pipeline().evaluate(run, [GivenAnswers("tuned", right)])
        assert done.status.state is RunState.PUBLISHED, done
        with pytest.raises(InputError, match="is published"):
            bench.pipeline().evaluate(run, [GivenAnswers("tuned", wrong)])


def test_other_gates_are_no_other_training(tmp_path: Path) -> None:
    strict = ROUTER_GATES.replace("min: 0.7", "min: 1.0")
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path, strict))
        assert finish(bench, run).status.state is RunState.HELD
        lenient = router(tmp_path, ROUTER_GATES.replace("min: 0.7", "min: 0").replace("0.9", "0"))
        pipeline = bench.pipeline()
        same, is_new = pipeline.submit(lenient, again=False)
        assert (same.id, is_new) == (run, False)
        assert any(f"orchestrator evaluate {run} --spec" in line for line in bench.told)
        assert pipeline.advance(run).status.state is RunState.HELD
        pipeline.judge_by(run, lenient.plan.evaluation, lenient.plan.gates)
        assert pipeline.evaluate(run).status.state is RunState.PUBLISHED
        assert len(bench.sandbox.vertex.jobs()) == 1
        assert len(bench.sandbox.jobs.jobs()) == 1


def test_a_repeated_offer_makes_no_second_commit(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path))
        until_offered(bench, run)
        facts = bench.facts(run)
        first = candidate(facts)
        pipeline = bench.pipeline()
        with bench.ledger.lease(run) as lease:
            assert lease is not None
            pipeline._actions.offer(facts, lease)
        again = candidate(bench.facts(run))
        assert first is not None
        assert again is not None
        assert again.data["revision"] == first.data["revision"]


def test_no_text_of_a_row_reaches_the_ledger(tmp_path: Path) -> None:
    with serving(tmp_path, "weak") as bench:
        run = submit(bench, router(tmp_path))
        finish(bench, run)
        said = json.dumps([dict(event.data) for event in bench.facts(run).events])
        rows = (Path(bench.facts(run).run.data_folder) / "validation.jsonl").read_text("utf-8")
        for row in map(json.loads, rows.splitlines()):
            plan_text = json.loads(row["completion"])
            for words in (row["prompt"][-60:], plan_text["route_rationale"][:40]):
                assert json.dumps(words)[1:-1] not in said


def test_an_endpoint_answers_every_row_once_and_is_taken_up_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(question: Question) -> Evaluation:
        # Scoring may take longer than a lease: a second pass must not begin it too.
        assert "keep-lease" in {one.name for one in threading.enumerate()}
        return evaluate(question)

    monkeypatch.setattr(evaluation_actions, "evaluate", kept)
    with serving(tmp_path, "good") as bench, endpoint_serving() as server:
        block = (
            f"{{scorer: route-plan, split: validation, service: endpoint, url: '{server.base_url}'"
            ", model: tuned-7, base_model: base-7, few_shot: 2}"
        )
        more = ROUTER_GATES.replace("{scorer: route-plan, split: validation}", block)
        run = submit(bench, router(tmp_path, more))
        rows = Path(bench.facts(run).run.data_folder) / "validation.jsonl"
        lines = map(json.loads, rows.read_text(encoding="utf-8").splitlines())
        right = {row["prompt"]: row["completion"] for row in lines}
        server.models = ["tuned-7", "base-7"]

        def answer(body: dict[str, Any]) -> dict[str, Any]:
            tuned = body["model"] == "tuned-7"
            return said(right[asked_in(body)] if tuned else "no plan", body)

        server.answer = answer
        server.faults.extend([status(500)] * 2)
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.PUBLISHED, outcome
        evidence = Evidence.from_json(evaluation(bench.facts(run)).data)  # type: ignore[union-attr]
        values = {one.name: one.metric("json_validity") for one in evidence.conditions}
        assert values["tuned"] is not None
        assert values["base"] is not None
        assert (values["tuned"].value, values["base"].value) == (1.0, 0.0)
        assert "few-shot" in values
        assert [one.kind for one in bench.facts(run).attempts] == [AttemptKind.TUNE]
        asked = [(one.body["model"], asked_in(one.body)) for one in server.received]
        assert len(asked) == 2 + len(set(asked))  # two went wrong, and were asked again


def test_a_run_can_be_held_until_people_have_looked_at_its_answers(tmp_path: Path) -> None:
    more = f"{ROUTER_GATES}  - {{metric: audit_mean, min: 4}}\n"
    with serving(tmp_path, "good") as bench:
        run = submit(bench, router(tmp_path, more))
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.HELD
        assert "nobody has scored answers (orchestrator audit)" in outcome.status.reason
        audits, folder = Audits(bench.ledger, bench.clock), bench.pipeline().run_folder(run)
        for reviewer, score, state, scored in (
            ("Eve", 5, RunState.HELD, 3),  # of four that were drawn
            ("Ann", 3, RunState.HELD, 4),
            ("Bob", 5, RunState.PUBLISHED, 4),
        ):
            drawn = audits.draw(run, folder, count=4, seed=1, condition="tuned")
            file = tmp_path / f"{reviewer}.jsonl"
            audits.write(run, drawn, file, blind=False)
            lines = list(map(json.loads, file.read_text(encoding="utf-8").splitlines()))
            rated = [{**row, "score": score} for row in lines[:scored]] + lines[scored:]
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rated))
            audits.record(run, folder, file, reviewer=reviewer, replace=False)
            assert bench.pipeline().evaluate(run).status.state is state, reviewer
        card = bench.pipeline().adapter_folder(run) / "README.md"
        assert "3 reviewers" in card.read_text(encoding="utf-8")
        assert len(bench.sandbox.jobs.jobs()) == 1
