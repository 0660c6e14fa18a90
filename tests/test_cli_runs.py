"""`orchestrator runs` and `show`: a list from the ledger alone."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run as orchestrator
from orchestrator.ledger import Ledger, RunFacts, Target
from orchestrator.report.costs import run_cost
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from tests.manual_clock import ManualClock
from tests.plans import router_plan

TARGET = Target("vertex", "project", "us-central1", "gs://bucket", "me/adapter")


class Home:
    """A ledger in the home folder of the test, and the command over it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        home = Path(os.environ["ORCHESTRATOR_HOME"])
        self.clock = ManualClock(datetime.now(UTC) - timedelta(days=3))
        self.ledger = Ledger(f"sqlite:///{home / 'ledger.db'}", self.clock)
        self._folder = folder
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        code = orchestrator(list(arguments))
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self) -> Any:
        return json.loads(self.out)

    def add(self, target: Target = TARGET) -> RunFacts:
        """One more run, an hour after the one before."""
        self.clock.advance(3600)
        plan = router_plan(self._folder).plan
        return self.ledger.add_run(plan, target, self._folder, again=True)

    def launch(self, run: RunFacts, snapshot: Snapshot | None = None) -> None:
        with self.ledger.lease(run.id) as lease:
            assert lease is not None
            lease.add_event("staged")
            attempt = lease.record_intent(
                kind=AttemptKind.TUNE,
                ordinal=1,
                token=f"orc-{run.id}",
                deadline_at=self.clock.now(),
            )
            lease.record_handle(attempt, Handle("vertex", f"jobs/{run.id}"), adopted=False)
            if snapshot is not None:
                lease.record_snapshot(attempt, snapshot)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    made = Home(tmp_path, capsys)
    yield made
    made.ledger.close()


def test_without_runs_it_says_so(home: Home) -> None:
    assert home("runs") == 0
    assert home.out == "no runs\n"
    assert "orchestrator submit SPEC" in home.err
    assert home("runs", "--json") == 0
    assert (home.json(), home.err) == ([], "")


def test_the_newest_run_comes_first_with_all_that_is_asked_of_a_list(home: Home) -> None:
    first, second = home.add(), home.add(replace(TARGET, repo=None))
    home.launch(first, Snapshot(AttemptState.FAILED, "JOB_STATE_FAILED", error="out of memory"))
    assert home("runs") == 0
    header, *lines = home.out.splitlines()
    assert header.split() == ["run", "name", "state", "service", "age", "cost", "repo"]
    assert [line.split()[0] for line in lines] == [second.id, first.id]
    assert "PLANNED" in lines[0]
    assert lines[0].endswith("–")
    assert "FAILED" in lines[1]
    assert "2 d" in lines[1]
    assert lines[1].endswith("me/adapter")
    assert "next: orchestrator show RUN" in home.err


def test_programs_get_one_document(home: Home) -> None:
    run = home.add()
    assert home("runs", "--json") == 0
    (line,) = home.json()
    assert {name: line[name] for name in ("run", "name", "state", "service", "repo")} == {
        "run": run.id,
        "name": "router-llama-3.1-8b",
        "state": "PLANNED",
        "service": "vertex",
        "repo": "me/adapter",
    }
    assert line["cost_is_estimate"] is True
    assert line["cost_usd"] == run.plan.estimate.cost_usd
    assert 2 * 86_400 < line["age_s"] < 3 * 86_400


def test_states_choose_and_a_limit_says_that_there_is_more(home: Home) -> None:
    runs = [home.add() for _ in range(4)]
    home.launch(runs[0], Snapshot(AttemptState.RUNNING, "JOB_STATE_RUNNING"))
    home.launch(runs[2], Snapshot(AttemptState.CANCELLED, "JOB_STATE_CANCELLED"))
    assert home("runs", "--state", "running,cancelled", "--json") == 0
    assert [line["run"] for line in home.json()] == [runs[2].id, runs[0].id]
    assert home("runs", "--limit", "3") == 0
    assert len(home.out.splitlines()) == 4
    assert "there are more: --all" in home.err
    assert home("runs", "--limit", "4") == 0
    assert "there are more" not in home.err
    assert home("runs", "--limit", "1", "--all", "--json") == 0
    assert len(home.json()) == 4
    assert home("runs", "--state", "published") == 0
    assert home.out == "no such runs\n"


def test_a_state_that_does_not_exist_is_named(home: Home) -> None:
    assert home("runs", "--state", "runing") == 2
    assert "there is no state runing" in home.err
    assert "running" in home.err


def test_the_cost_is_that_of_the_reported_tokens_once_every_job_has_reported(home: Home) -> None:
    run = home.add()
    stats = {
        "tuning_data_stats": {
            "supervised_tuning_data_stats": {"total_billable_token_count": 2_000_000}
        }
    }
    home.launch(run, Snapshot(AttemptState.SUCCEEDED, "JOB_STATE_SUCCEEDED", stats=stats))
    facts = home.ledger.facts(run.id)
    cost = run_cost(facts)
    assert (round(cost.usd, 2), cost.is_estimate) == (1.34, False)  # at $0.67 a million
    assert str(cost) == "$1.34"
    (attempt,) = facts.attempts
    silent = replace(attempt, id="x", ordinal=2, snapshot=None)
    both = run_cost(replace(facts, attempts=(attempt, silent)))
    assert both.usd == pytest.approx(1.34 + run.plan.estimate.cost_usd)
    assert both.is_estimate
    assert str(both).startswith("about $")


def test_the_list_asks_no_service_and_imports_no_client(home: Home) -> None:
    import subprocess

    home.launch(home.add())
    code = (
        "import sys\nfrom orchestrator.cli import run\nassert run(['runs']) == 0\n"
        "assert not {'google.cloud.storage', 'grpc', 'huggingface_hub', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "router-llama-3.1-8b" in done.stdout


def test_show_names_the_cost_and_the_next_command(home: Home) -> None:
    run = home.add()
    home.launch(run, Snapshot(AttemptState.FAILED, "JOB_STATE_FAILED", error="out of memory"))
    assert home("show", run.id) == 0
    assert "cost" in home.out
    assert f"next: orchestrator logs {run.id}" in home.err
