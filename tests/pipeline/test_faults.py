"""Every fault on every face, while a run goes from its spec to its published adapter."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partialmethod
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import _http as hub_http

from orchestrator.errors import OrchestratorError
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.edge.rules import Face, RequestRule
from orchestrator.services import vertex
from orchestrator.state import RunState
from orchestrator.stores.gcs import GcsStore
from orchestrator.stores.hub import HubStore
from tests.pipeline.bench import Bench, running_bench
from tests.plans import router_plan
from tests.sandbox.storage.stage import retry_at_once

FAULTS: list[dict[str, Any]] = [
    {"effect": "error", "status": 503},
    {"effect": "error", "status": 429, "retry_after_s": 2},
    {"effect": "error", "status": 500, "after": True},
    {"effect": "drop"},
    {"effect": "drop", "after": True},
    {"effect": "stall", "after": True},
    {"effect": "delay", "delay_s": 0.05},
    {"effect": "cut", "keep_bytes": 5},
    {"effect": "corrupt"},
]
MOMENT_S = 0.1
#: Of each plan another one: no run finds the job or the commit of an earlier one.
_ROWS = count(10)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One sandbox for all: starting it takes longer than a run."""
    with running_bench(tmp_path_factory.mktemp("faults")) as bench:
        yield bench


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    gc.collect()
    shared.sandbox.faults.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Clients wait for no answer longer than a moment, until this is undone."""
    retry_at_once(monkeypatch)
    monkeypatch.setattr(hub_http, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    with monkeypatch.context() as patched:
        for store in (GcsStore, HubStore):
            patched.setattr(store, "__init__", partialmethod(store.__init__, timeout_s=MOMENT_S))
        patched.setattr(vertex, "READ_TIMEOUT_S", MOMENT_S)
        yield patched


def submit(bench: Bench) -> str:
    """Submit a plan of its own, again and again until it works."""
    prepared = router_plan(bench.folder, rows=next(_ROWS))
    for _ in range(3):
        with suppress(OrchestratorError):
            return bench.pipeline().submit(prepared, again=False)[0].id
    bench.sandbox.faults.clear()
    return bench.pipeline().submit(prepared, again=False)[0].id


def ended(bench: Bench, run: str) -> Outcome:
    """The end of a run; the first time, its job may only just have been found or launched."""
    bench.finish(run)
    return bench.finish(run)


def commits_of(bench: Bench, run: str) -> int:
    """How many commits on the Hub name the run."""
    repo = bench.facts(run).run.target.repo
    assert repo is not None
    api = HfApi(bench.settings.hub_endpoint, token=bench.settings.hub_token)
    return sum(run in commit.message for commit in api.list_repo_commits(repo))


# Google's client leaves the answers of downloads open that it does not want: their sockets are
# closed when they are collected, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("face", "fault"),
    [
        pytest.param(face, fault, id="-".join(map(str, (face, *fault.values()))))
        for face in ("storage", "hub", "vertex")
        for fault in FAULTS
        # Other bytes on the Hub hold a run for a person: tests/pipeline/test_publishing.py.
        if (face, fault["effect"]) != ("hub", "corrupt")
    ],
)
def test_whatever_goes_wrong_there_is_one_job_and_one_commit(
    bench: Bench, impatient: pytest.MonkeyPatch, face: Face, fault: dict[str, Any]
) -> None:
    sandbox, book = bench.sandbox, bench.sandbox.faults
    jobs, met = len(sandbox.vertex.jobs()), len(book.injected)
    # The second and third request, and others by the seed.
    book.add(RequestRule(face=face, **fault, nth=2, times=2))
    book.add(RequestRule(face=face, **fault, chance=0.4, times=None))
    run = submit(bench)
    for _ in range(4):
        outcome = bench.pipeline(call_timeout_s=MOMENT_S).poll([run])[0]
        assert outcome.bug is None
        for job in sandbox.vertex.jobs():
            sandbox.vertex.wait_until_ended(job.name)
        bench.clock.advance(60)
        sandbox.clock.advance(60)
    assert len(book.injected) > met
    book.clear()
    impatient.undo()
    # As long as a refusal for quota keeps a run from asking again.
    bench.clock.advance(300)
    outcome = ended(bench, run)
    if outcome.status.state is RunState.SUBMITTING:
        # The request for the job never arrived, and nobody here can know that.
        assert len(sandbox.vertex.jobs()) == jobs
        bench.clock.advance(bench.settings.visibility_window_s)
        assert ended(bench, run).status.state is RunState.UNCERTAIN
        bench.pipeline().resolve(run, handle=None, by="a person")
        outcome = ended(bench, run)
    assert outcome.status.state is RunState.PUBLISHED, outcome
    assert len(sandbox.vertex.jobs()) == jobs + 1
    assert commits_of(bench, run) == 1
