"""A sandbox with the canned stand-in, and the pipeline over it through the real clients."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.connections import Connections
from orchestrator.ledger import Facts, Ledger
from orchestrator.pipeline import Outcome, Pipeline
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.settings import Settings
from orchestrator.state import Action
from tests.manual_clock import ManualClock
from tests.plans import ROUTER, router_plan
from tests.sandbox.hub.openapi_judge import Judge


class Bench:
    """One sandbox, one ledger; `clock` drives the client's time only."""

    def __init__(self, sandbox: Sandbox, folder: Path, clock: ManualClock | None = None) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.clock = clock or ManualClock()
        self.settings: Settings = sandbox.settings(folder / "home")
        self.ledger = Ledger(self.settings.ledger_url, self.clock)
        self.told: list[str] = []

    def pipeline(self, **changes: object) -> Pipeline:
        """A pipeline as a new process would make it; `changes` are settings."""
        settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]
        connections = Connections(settings, self.clock)
        return Pipeline(
            settings, self.ledger, connections, clock=self.clock, notify=self.told.append
        )

    def submit(self) -> str:
        """Submit the router plan and advance it as far as it goes at once."""
        pipeline = self.pipeline()
        prepared = router_plan(self.folder)
        run, _ = pipeline.submit(prepared, again=False)
        pipeline.advance(run.id)
        return run.id

    def submit_and_train(self) -> str:
        """Submit the router plan, and wait until its job has ended at the face."""
        run = self.submit()
        attempt = self.facts(run).tune
        assert attempt is not None
        assert attempt.handle is not None
        self.sandbox.vertex.wait_until_ended(attempt.handle.id)
        return run

    def facts(self, run_id: str) -> Facts:
        """What the ledger holds."""
        return self.ledger.facts(run_id)

    def finish(self, run_id: str) -> Outcome:
        """Wait for the job at the face, and poll until nothing more can be done."""
        attempt = self.facts(run_id).tune
        if attempt is not None and attempt.handle is not None:
            self.sandbox.vertex.wait_until_ended(attempt.handle.id)
        for _ in range(5):
            outcome = self.pipeline().poll([run_id])[0]
            if outcome.status.action is Action.DONE:
                break
        return outcome

    def process(
        self, arguments: list[str], *, before: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own, after the Python lines `before`."""
        code = textwrap.dedent(before) + "\nfrom orchestrator.cli import main\nmain()\n"
        environment = {
            **os.environ,
            **self.sandbox.environment(),
            "ORCHESTRATOR_HOME": str(self.settings.home),
        }
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def spec(self) -> str:
        """The path of the spec that `submit` plans."""
        router_plan(self.folder)
        return str(self.folder / "spec.yaml")

    @property
    def submit_arguments(self) -> list[str]:
        """The same submission as `submit`, for the command line."""
        data = str(ROUTER.parent / "sample.jsonl")
        return ["submit", self.spec, "--data", data, "--limit", "20"]


@contextmanager
def running_bench(folder: Path) -> Iterator[Bench]:
    """A bench whose sandbox is being served."""
    state = folder / "sandbox"
    state.mkdir()
    with Sandbox(state, SandboxOptions(stand_in="replay")) as sandbox:
        sandbox.hub_app.add_middleware(Judge)
        bench = Bench(sandbox, folder)
        try:
            yield bench
        finally:
            bench.ledger.close()
