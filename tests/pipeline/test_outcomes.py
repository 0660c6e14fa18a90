"""What becomes of runs whose jobs end otherwise than they should, or are hard to see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from huggingface_hub import HfApi

from orchestrator.cli.session import Session
from orchestrator.cli.watch import watch
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.config import SandboxConfig
from orchestrator.sandbox.edge.rules import FaultPlan, JobRule, RequestRule
from orchestrator.sandbox.running import USER, Sandbox, SandboxOptions
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.state import Action, RunState, Status
from tests.manual_clock import ManualClock
from tests.pipeline.bench import Bench
from tests.pipeline.shell import Shell
from tests.plans import router_plan

CONFIG = ("*adapter_config.json",)
FAILED, HELD = RunState.FAILED, RunState.HELD


@contextmanager
def benched(folder: Path, *jobs: JobRule, **conduct: Any) -> Iterator[Bench]:
    """A bench whose client and service live on one clock that stands still."""
    clock = ManualClock()
    config = SandboxConfig(faults=FaultPlan(jobs=jobs), vertex=VertexConduct(**conduct))
    options = SandboxOptions(stand_in="replay", config=config)
    with Sandbox(folder / "sandbox", options, clock=clock) as sandbox:
        bench = Bench(sandbox, folder, clock)
        try:
            yield bench
        finally:
            bench.ledger.close()


def repos(bench: Bench) -> list[str]:
    api = HfApi(bench.settings.hub_endpoint, token=bench.settings.hub_token)
    return [model.id for model in api.list_models(author=USER)]


@pytest.mark.parametrize(
    ("rule", "state", "reason"),
    [
        ({"outcome": "failed", "message": "out of memory"}, FAILED, "out of memory"),
        ({"outcome": "expired"}, FAILED, "JOB_STATE_EXPIRED"),
        ({"outcome": "partial"}, HELD, "partial success"),
        ({"outcome": "nan-weights"}, FAILED, "NaN or infinity in"),
        ({"outcome": "missing-files"}, FAILED, "there is no adapter under gs://"),
        ({"outcome": "missing-files", "files": CONFIG}, FAILED, "adapter_config.json: is missing"),
        ({"outcome": "cut-files"}, FAILED, "adapter_model.safetensors: is cut short"),
        ({"outcome": "cut-files", "files": CONFIG}, FAILED, "adapter_config.json: is not valid"),
    ],
    ids=str,
)
def test_a_job_that_leaves_no_whole_adapter_is_never_published(
    tmp_path: Path, rule: dict[str, Any], state: RunState, reason: str
) -> None:
    with benched(tmp_path, JobRule(**rule)) as bench:
        run = bench.submit()
        outcome = bench.finish(run)
        # Lists of a bucket may lag, so files that are not there are waited for.
        bench.clock.advance(bench.settings.visibility_window_s + 1)
        outcome = bench.finish(run)
        assert outcome.status.state is state
        assert reason in outcome.status.reason
        assert repos(bench) == []
        assert len(bench.sandbox.vertex.jobs()) == 1


def test_a_job_that_is_stuck_is_cancelled_by_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with benched(tmp_path, JobRule(outcome="stuck")) as bench:
        run = bench.submit()
        bench.clock.advance(5 * 86400)
        assert bench.pipeline().poll([run])[0].status.state is RunState.RUNNING
        shell = Shell(bench, monkeypatch, capsys)
        assert shell("cancel", run, "--yes", "--no-wait") == 0
        assert bench.finish(run).status.state is RunState.CANCELLED
        assert repos(bench) == []


def test_a_job_that_lists_do_not_show_yet_is_waited_for_and_never_launched_again(
    tmp_path: Path,
) -> None:
    with benched(tmp_path, visibility_lag_s=300) as bench:
        book = bench.sandbox.faults
        book.add(RequestRule(face="vertex", operation="create", effect="drop", after=True))
        run = bench.submit()
        for _ in range(4):
            assert bench.pipeline().poll([run])[0].status.state is RunState.SUBMITTING
            bench.clock.advance(70)
        assert bench.finish(run).status.state is RunState.SUBMITTING
        bench.clock.advance(30)
        assert bench.finish(run).status.state in (RunState.RUNNING, RunState.PUBLISHED)
        assert bench.finish(run).status.state is RunState.PUBLISHED
        (bill,) = bench.sandbox.vertex.bill()
        assert bill.cost_usd
        assert bench.sandbox.vertex.create_calls == 1


def test_a_quota_that_is_used_up_is_waited_for_as_long_as_the_service_asks(tmp_path: Path) -> None:
    with benched(tmp_path, quota_mode="refuse", running_s=3600) as bench:
        first = bench.submit()
        pipeline = bench.pipeline()
        second, _ = pipeline.submit(router_plan(bench.folder), again=True)
        refused = pipeline.advance(second.id)
        assert refused.status.state is RunState.STAGED
        assert "RESOURCE_EXHAUSTED" in refused.status.reason
        assert len(bench.sandbox.vertex.jobs()) == 1
        # Soon is too soon: the service is not asked again.
        bench.clock.advance(59)
        bench.pipeline().poll()
        assert bench.sandbox.vertex.create_calls == 2
        bench.sandbox.clock.advance(3600)
        assert bench.finish(first).status.state is RunState.PUBLISHED
        bench.clock.advance(300)
        assert bench.pipeline().poll([second.id])[0].error is None
        bench.sandbox.clock.advance(3600)
        assert bench.finish(second.id).status.state is RunState.PUBLISHED
        assert len(bench.sandbox.vertex.jobs()) == 2
        assert bench.sandbox.vertex.create_calls == 3


def test_a_bug_is_called_one_by_commands_about_one_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench.submit_and_train()

    def broken(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("orchestrator.run_actions.RunActions.collect", broken)
    shell = Shell(bench, monkeypatch, capsys)
    for command in (["evaluate", run], ["poll", "--watch", run]):
        assert shell(*command) == 3
        assert "this is a bug of orchestrator: KeyError: 'planted'" in shell.err


def test_to_be_evaluated_is_all_that_a_spec_may_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Outcome("run", Status(RunState.EVALUATED, Action.DONE))
    monkeypatch.setattr("orchestrator.cli.watch.poll_until_ended", lambda *_: (done,))
    assert watch(cast("Session", None), ["run"], 1.0) == 0
