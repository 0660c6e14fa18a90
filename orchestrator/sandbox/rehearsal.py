"""A rehearsal: a spec end to end through the production clients, on a sandbox of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.connections import Connections
from orchestrator.errors import InputError
from orchestrator.ledger import Ledger
from orchestrator.pipeline import Outcome, Pipeline
from orchestrator.planner import Prepared
from orchestrator.progress import SILENT, Reporter
from orchestrator.report.views import RunView
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.sandbox.standins.base import Answers, StandInOptions
from orchestrator.state import Action

_POLL_INTERVAL_S = 0.2
_LONGEST_INTERVAL_S = 5.0
#: How often it is told how far a training is, at most.
_TOLD_EVERY_S = 5.0
#: The result, written at the end into the rehearsal's folder.
_FINISHED = "rehearsal.json"
#: Where the answers of a model go that is asked beside the rehearsal, in the same folder.
ANSWERS = "answers"
#: Rehearsals without a folder of their own that are kept; older ones are removed.
KEPT = 5


@dataclass(frozen=True)
class Rehearsal:
    """What came of a rehearsal."""

    outcome: Outcome
    view: RunView
    folder: Path
    adapter_folder: Path
    service_jobs: tuple[str, ...]
    differences: tuple[str, ...]
    stand_in: str
    stand_in_folder: Path | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The rehearsal as `rehearse --json` prints it."""
        published = self.view.published or {}
        return {
            "run": self.view.facts.run.id,
            "state": str(self.view.status.state),
            "reason": self.view.status.reason,
            "service_jobs": list(self.service_jobs),
            "stand_in": self.stand_in,
            "stand_in_path": str(self.stand_in_folder) if self.stand_in_folder else None,
            "differences": list(self.differences),
            "hub_repo": published.get("repo"),
            "hub_revision": published.get("revision"),
            "hub_tag": published.get("tag"),
            "adapter_path": str(self.adapter_folder),
            "plan_digest": self.view.facts.run.plan.digest,
            "metrics": self.view.to_json()["metrics"],
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
        }


def rehearse(
    prepared: Prepared,
    folder: Path,
    *,
    stand_in: str,
    answers: Answers | None = None,
    notify: Callable[[str], None],
    reporter: Reporter = SILENT,
    clock: Clock = SYSTEM_CLOCK,
    check: Callable[[], None] = lambda: None,
) -> Rehearsal:
    """Run a plan on a new sandbox in `folder`, which must be empty or absent.

    `check` raises if somebody wants an end: an interruption that came amid a callback is lost.
    """
    started_s = clock.elapsed_s()
    if folder.exists() and (not folder.is_dir() or _holds_something(folder)):
        raise InputError(
            f"{folder} is not an empty folder", hint="Choose another one: nothing is overwritten."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with Sandbox(folder, _options(prepared, stand_in, answers)) as sandbox:
        settings = sandbox.settings(folder / "home")
        ledger = Ledger(settings.ledger_url, clock)
        try:
            pipeline = Pipeline(
                settings,
                ledger,
                Connections(settings, clock),
                clock=clock,
                notify=notify,
                reporter=reporter,
            )
            run, _ = pipeline.submit(prepared, again=False)
            outcome = pipeline.advance(run.id)
            training = _Training(ledger, run.id, notify, clock)
            with reporter.waiting(f"{stand_in} stands in for {prepared.plan.model.hub_id}"):
                interval_s = _POLL_INTERVAL_S
                while _goes_on(outcome):
                    check()
                    _wait(sandbox, clock, interval_s)
                    interval_s = min(interval_s * 1.3, _LONGEST_INTERVAL_S)
                    outcome = pipeline.poll([run.id])[0]
                    if _goes_on(outcome):
                        training.tell()
            # The faces are asked, not the ledger: they are the ones who would send the bill.
            jobs, differences = _jobs(sandbox)
            result = Rehearsal(
                outcome=outcome,
                view=pipeline.view(run.id),
                folder=folder,
                adapter_folder=pipeline.adapter_folder(run.id),
                service_jobs=jobs,
                differences=differences,
                stand_in=stand_in,
                stand_in_folder=getattr(sandbox.stand_in, "base_dir", None),
                seconds=clock.elapsed_s() - started_s,
            )
            (folder / _FINISHED).write_bytes(orjson.dumps(result.to_json()))
            return result
        finally:
            ledger.close()


@dataclass
class _Training:
    """Tells how far a run's training is, as its lines arrive in the ledger."""

    ledger: Ledger
    run_id: str
    notify: Callable[[str], None]
    clock: Clock
    told: str = ""
    told_s: float = -_TOLD_EVERY_S

    def tell(self) -> None:
        """The newest loss, unless it was told or something was told just now."""
        losses = [one for one in self.ledger.metrics(self.run_id) if one.name == "loss"]
        now_s = self.clock.elapsed_s()
        if not losses or now_s - self.told_s < _TOLD_EVERY_S:
            return
        last = max(losses, key=lambda one: one.step)
        line = f"{self.run_id}: step {last.step:g}, loss {last.value:.3g}"
        if line != self.told:
            self.told, self.told_s = line, now_s
            self.notify(line)


def _wait(sandbox: Sandbox, clock: Clock, interval_s: float) -> None:
    """Wait for the next look at the services; no longer than until all their jobs have ended.

    A look every moment would use up what the Hub allows, and lists would be refused.
    """
    until_s = clock.elapsed_s() + interval_s
    clock.sleep(_POLL_INTERVAL_S)
    while clock.elapsed_s() < until_s:
        if sandbox.vertex.all_ended() and sandbox.jobs.all_ended():
            return
        clock.sleep(_POLL_INTERVAL_S)


def _jobs(sandbox: Sandbox) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every job at the services, and each departure from what was asked for, once."""
    tuning = [job.name for job in sandbox.vertex.jobs()]
    scripts = [job.id for job in reversed(sandbox.jobs.jobs())]
    lines = [line for job in tuning for line in sandbox.vertex.differences(job)]
    lines += [line for job in scripts for line in sandbox.jobs.differences(job)]
    return (*tuning, *scripts), tuple(dict.fromkeys(lines))


def _holds_something(folder: Path) -> bool:
    return any(entry.name != ANSWERS for entry in folder.iterdir())


def _goes_on(outcome: Outcome) -> bool:
    return outcome.error is None and outcome.status.action is not Action.DONE


def new_folder(home: Path, name: str, clock: Clock = SYSTEM_CLOCK) -> Path:
    """A folder for a rehearsal that the user gave none for; old ones of the kind are removed."""
    parent = home / "rehearsals"
    if parent.is_dir():
        # Only what a rehearsal has finished with: another one may be running beside this one.
        finished = [old for old in sorted(parent.iterdir()) if (old / _FINISHED).is_file()]
        for old in finished[: -(KEPT - 1)]:
            shutil.rmtree(old, ignore_errors=True)
    return parent / f"{clock.now():%Y%m%dT%H%M%S%f}-{name}"


def _options(prepared: Prepared, stand_in: str, answers: Answers | None) -> SandboxOptions:
    spec = prepared.plan.spec
    namespace = (
        spec.publish.repo.partition("/")[0] if spec.publish and "/" in spec.publish.repo else ""
    )
    return SandboxOptions(
        stand_in=stand_in,
        training=StandInOptions(
            learning_rate=spec.stand_in.learning_rate,
            epochs=spec.stand_in.epochs,
            max_length=spec.stand_in.max_length,
            batch_size=spec.stand_in.batch_size,
            seed=spec.seed,
            mode=spec.stand_in.mode,
            rank=spec.stand_in.rank,
            last_layers=spec.stand_in.last_layers,
            rows=spec.stand_in.rows,
            short_prompt=spec.stand_in.short_prompt,
            answers=answers,
        ),
        namespaces=(namespace,) if namespace else (),
    )
