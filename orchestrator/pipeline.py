"""Moves runs forward: performs the next action of each, and records what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator import collector, launcher, publisher, staging, submission
from orchestrator.adapter import ExpectedAdapter, check_adapter
from orchestrator.catalog import LINEAR_LAYERS
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.connections import Connections
from orchestrator.decisions import Decisions
from orchestrator.digests import sha256_file
from orchestrator.errors import LedgerError, OrchestratorError
from orchestrator.ledger import Artifact, DamagedRun, Facts, Lease, Ledger, RunFacts, Target
from orchestrator.planner import Prepared
from orchestrator.progress import SILENT, Reporter
from orchestrator.report.card import model_card
from orchestrator.report.views import RunView, view
from orchestrator.services.base import AttemptState, Handle, Snapshot
from orchestrator.settings import Settings
from orchestrator.state import GONE, Action, RunState, Status, status

#: What a pass found out from the services before it moves runs.
News = Mapping[Handle, Snapshot]
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """Where a pass left a run; `error` if an action failed (a later pass tries it again).

    `asked` is False if the service of its job did not answer, and so nothing was tried.
    """

    run_id: str
    status: Status
    error: OrchestratorError | None = None
    bug: Exception | None = None
    asked: bool = True


_ONCE_A_PASS = frozenset(
    {Action.FIND, Action.INSPECT, Action.CANCEL, Action.LAUNCH, Action.COLLECT}
)


class Pipeline:
    """The steps over one ledger. `notify` is told, in a line each, what happens.

    `reporter` is told of what takes long while it goes on.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        connections: Connections,
        *,
        clock: Clock = SYSTEM_CLOCK,
        notify: Notify = lambda _: None,
        reporter: Reporter = SILENT,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._connections = connections
        self._clock = clock
        self._notify = notify
        self._reporter = reporter
        self._decisions = Decisions(ledger, connections, clock=clock, notify=notify)

    def submit(self, prepared: Prepared, *, again: bool) -> tuple[RunFacts, bool]:
        """The run of a plan, and whether it is new; see `submission.submit`."""
        return submission.submit(
            prepared, self._settings, self._ledger, self._connections, again=again
        )

    def advance(self, run_id: str, news: News | None = None) -> Outcome:
        """Move one run as far as it can go now. `news` are snapshots already asked for."""
        with self._ledger.lease(run_id) as lease:
            if lease is None:
                return Outcome(run_id, self._status(run_id))
            error: OrchestratorError | None = None
            try:
                self._perform_all(run_id, lease, news or {})
            except OrchestratorError as problem:
                error = problem
                # A lost lease cannot record its loss; the pass that has it goes on.
                with contextlib.suppress(LedgerError):
                    lease.add_event("step_failed", {"message": str(problem)})
            now = self._status(run_id)
            lease.finished = now.action is Action.DONE
            return Outcome(run_id, now, error)

    def poll(self, run_ids: Iterable[str] | None = None) -> list[Outcome]:
        """One pass over the unfinished runs (or those given), one question per service.

        What goes wrong with one run, even a bug, does not keep the others from going on.
        """
        ids = list(run_ids or self._ledger.run_ids(unfinished_only=True))
        readable, damaged = self._read(ids)
        news, unreachable = self._ask(readable)
        outcomes: list[Outcome] = []
        for run_id in ids:
            if run_id in damaged:
                outcomes.append(_damaged(run_id, damaged[run_id]))
                continue
            if run_id in unreachable:
                problem = unreachable[run_id]
                outcomes.append(Outcome(run_id, self._status(run_id), problem, asked=False))
                continue
            try:
                outcomes.append(self.advance(run_id, news))
            except DamagedRun as problem:
                outcomes.append(_damaged(run_id, problem))
            except LedgerError as problem:
                outcomes.append(Outcome(run_id, self._status(run_id), problem))
            except Exception as bug:
                broken = OrchestratorError(f"unexpected {type(bug).__name__}: {bug}")
                outcomes.append(Outcome(run_id, self._status(run_id), broken, bug))
        return outcomes

    def cancel(self, run_id: str) -> Outcome:
        """Record the wish to cancel a run, and carry it out as far as is possible now.

        Later passes go on with it. A run that is cancelled is left as it is. Raises `InputError`
        if its training has ended.
        """
        self._decisions.cancel(run_id)
        return self.poll([run_id])[0]

    def resolve(self, run_id: str, *, handle: str | None, by: str) -> Outcome:
        """A person's answer to UNCERTAIN: the job's name, or None for "it was not launched"."""
        self._decisions.resolve(run_id, handle=handle, by=by)
        return self.advance(run_id)

    def publish_again(self, run_id: str) -> Outcome:
        """Let a run that was held at publishing, or outran its cancelling, go on."""
        self._decisions.release(run_id)
        return self.advance(run_id)

    def view(self, run_id: str) -> RunView:
        """Everything that is shown of a run."""
        facts = self._ledger.facts(run_id)
        return view(facts, self._ledger.metrics(run_id), self._clock.now())

    def run_folder(self, run_id: str) -> Path:
        """Where the files of a run are kept on this machine."""
        return self._settings.runs_dir / run_id

    def adapter_folder(self, run_id: str) -> Path:
        """The checked files of a run, with its card: what is published."""
        return self.run_folder(run_id) / "adapter"

    def _status(self, run_id: str) -> Status:
        return status(self._ledger.facts(run_id), self._clock.now())

    def _read(self, run_ids: Iterable[str]) -> tuple[list[Facts], dict[str, DamagedRun]]:
        """The facts of the runs, and why those of some cannot be read."""
        facts: list[Facts] = []
        damaged: dict[str, DamagedRun] = {}
        for run_id in run_ids:
            try:
                facts.append(self._ledger.facts(run_id))
            except DamagedRun as problem:
                damaged[run_id] = problem
        return facts, damaged

    def _ask(self, every: list[Facts]) -> tuple[News, dict[str, OrchestratorError]]:
        """The state of all jobs that are waited for, by one call per service and place.

        The second result has the error of each run whose service could not be asked.
        """
        wanted: dict[Target, dict[str, Handle]] = {}
        for facts in every:
            attempt = facts.tune
            if attempt and attempt.handle and not attempt.is_over:
                place = dataclasses.replace(facts.run.target, repo=None, bucket="")
                wanted.setdefault(place, {})[facts.run.id] = attempt.handle
        news: dict[Handle, Snapshot] = {}
        unreachable: dict[str, OrchestratorError] = {}
        for target, handles in wanted.items():
            try:
                found = self._connections.service(target).inspect(handles.values())
            except OrchestratorError as problem:
                unreachable |= dict.fromkeys(handles, problem)
            else:
                news |= {handle: found.get(handle, _GONE) for handle in handles.values()}
        return news, unreachable

    def _perform_all(self, run_id: str, lease: Lease, news: News) -> None:
        """Perform actions until one changes nothing, or none is left."""
        asked: set[Action] = set()
        while True:
            facts = self._ledger.facts(run_id)
            action = status(facts, self._clock.now()).action
            if action in (Action.WAIT, Action.DONE) or action in asked:
                return
            # The same question brings no news in the same pass, and no pass launches twice or
            # collects twice.
            if action in _ONCE_A_PASS:
                asked.add(action)
            self._perform(action, facts, lease, news)

    def _perform(self, action: Action, facts: Facts, lease: Lease, news: News) -> None:
        perform = {
            Action.STAGE: self._stage,
            Action.LAUNCH: self._launch,
            Action.FIND: self._find,
            Action.CANCEL: self._cancel,
            Action.COLLECT: self._collect,
            Action.CHECK_ADAPTER: self._check_adapter,
            Action.PUBLISH: self._publish,
        }
        if action is Action.INSPECT:
            self._inspect(facts, lease, news)
        else:
            perform[action](facts, lease)

    def _stage(self, facts: Facts, lease: Lease) -> None:
        target = facts.run.target
        folder = Path(facts.run.data_folder)
        splits = [s for s in facts.run.plan.splits if s.rows and s.name != "test"]
        files = {split.name: folder / f"{split.name}.jsonl" for split in splits}
        for split in splits:
            path = files[split.name]
            if not path.is_file() or sha256_file(path) != split.sha256:
                raise LedgerError(
                    f"{path} is missing or was changed since the run was submitted",
                    hint="Submit the spec again with --again.",
                )
        store = self._connections.store(target)
        staged = staging.stage(store, files, target.bucket, self._reporter)
        uploaded = sum(item.uploaded for item in staged.values())
        self._notify(f"staged {len(staged)} files, {uploaded} of them uploaded")
        artifacts = [
            Artifact("staged", name, item.uri, item.size_bytes, item.sha256)
            for name, item in staged.items()
        ]
        lease.record_artifacts(artifacts, "staged", {"uploaded": uploaded})

    def _launch(self, facts: Facts, lease: Lease) -> None:
        store = self._connections.store(facts.run.target)
        staged = facts.artifacts_of("staged").values()
        if any(store.stat(item.uri) is None for item in staged):
            # Swept up, or past the bucket's own rules for old objects, since they were staged.
            self._stage(facts, lease)
        with self._reporter.unbroken("the answer to the launch"):
            launcher.launch(
                self._ledger.facts(facts.run.id),
                self._connections.service(facts.run.target),
                lease,
                clock=self._clock,
                call_timeout_s=self._settings.call_timeout_s,
            )
        attempt = self._ledger.facts(facts.run.id).tune
        if attempt and attempt.handle:
            self._notify(f"launched {attempt.handle.id}")

    def _find(self, facts: Facts, lease: Lease) -> None:
        if facts.tune is not None:
            launcher.find_again(
                facts.tune,
                self._connections.service(facts.run.target),
                lease,
                clock=self._clock,
                visibility_window_s=self._settings.visibility_window_s,
            )

    def _cancel(self, facts: Facts, lease: Lease) -> None:
        attempt = facts.tune
        if attempt is None or attempt.handle is None:
            return
        self._connections.service(facts.run.target).cancel(attempt.handle)
        lease.add_event("cancel_sent", {}, attempt.id)
        self._notify(f"asked the service to cancel {attempt.handle.id}")

    def _inspect(self, facts: Facts, lease: Lease, news: News) -> None:
        attempt = facts.tune
        if attempt is None or attempt.handle is None:
            return
        snapshot = news.get(attempt.handle)
        if snapshot is None or snapshot == attempt.snapshot:
            return
        if snapshot is _GONE and self._is_recent(attempt.launched_at or attempt.intent_at):
            return  # what was created just now may not be visible yet
        lease.record_snapshot(attempt.id, snapshot)
        if attempt.snapshot is None or attempt.snapshot.state is not snapshot.state:
            self._notify(f"{facts.run.id}: {snapshot.raw_state}")

    def _is_recent(self, instant: datetime) -> bool:
        """Whether the service's lists may not show yet what happened then."""
        window = timedelta(seconds=self._settings.visibility_window_s)
        return self._clock.now() < instant + window

    def _collect(self, facts: Facts, lease: Lease) -> None:
        attempt = facts.tune
        if attempt is None or attempt.handle is None:
            return
        target = facts.run.target
        output = self._connections.service(target).outputs(attempt.handle)
        folder = self.run_folder(facts.run.id) / "collected"
        found = collector.collect(
            self._connections.store(target),
            output,
            folder,
            still_ours=lease.keep,
            reporter=self._reporter,
        )
        ended_at = attempt.snapshot.ended_at if attempt.snapshot else None
        if found is None and self._is_recent(ended_at or attempt.intent_at):
            return  # the files may not be listed yet
        if found is None:
            reason = f"the job reports success, but there is no adapter under {output}"
            lease.add_event("nothing_collected", {"reason": reason}, attempt.id)
            return
        lease.record_metrics(attempt.id, found.metrics)
        data = {
            "source": found.source_uri,
            "summary": dict(found.summary),
            "ignored": list(found.ignored),
        }
        lease.record_artifacts(found.artifacts, "collected", data, attempt.id)
        self._notify(f"collected {len(found.artifacts)} files from {found.source_uri}")

    def _check_adapter(self, facts: Facts, lease: Lease) -> None:
        plan = facts.run.plan
        expected = ExpectedAdapter(
            base_model=plan.model.id,
            hub_id=plan.model.hub_id,
            accepted_names=(plan.spec.base_model,),
            rank=plan.hyperparameters.rank,
            allowed_targets=LINEAR_LAYERS,
        )
        folder = self.run_folder(facts.run.id)
        if self._lost_files(facts, lease, folder / "collected", "collected"):
            return
        report = check_adapter(folder / "collected", folder / "adapter", expected)
        artifacts = [
            Artifact("adapter", item.path, f"adapter/{item.path}", item.size_bytes, item.sha256)
            for item in report.files
        ]
        data = report.to_json()
        data.pop("files")
        attempt_id = facts.tune.id if facts.tune else None
        lease.record_artifacts(artifacts, "adapter_checked", data, attempt_id)
        verdict = "passes" if not report.problems else f"refused: {'; '.join(report.problems)}"
        self._notify(f"adapter check: {verdict}")

    def _publish(self, facts: Facts, lease: Lease) -> None:
        folder = self.adapter_folder(facts.run.id)
        # Only what was checked is published: the files may have changed since, or be elsewhere.
        if self._lost_files(facts, lease, folder, "adapter"):
            return
        card = model_card(self.view(facts.run.id))
        (folder / publisher.CARD).write_text(card, encoding="utf-8", newline="\n")
        item = publisher.publication(facts, folder)
        publisher.publish(item, self._connections.hub, facts, lease, self._reporter)
        self._notify(f"published to {item.repo}")

    def _lost_files(self, facts: Facts, lease: Lease, folder: Path, kind: str) -> bool:
        """Whether files of a step are not here as recorded; then they are collected again."""
        lost = [
            name
            for name, artifact in facts.artifacts_of(kind).items()
            if not (folder / name).is_file() or sha256_file(folder / name) != artifact.sha256
        ]
        if lost:
            lease.add_event("files_lost", {"kind": kind, "files": lost})
            self._notify(f"{folder} does not hold what was recorded; collecting again")
        return bool(lost)


def _damaged(run_id: str, problem: DamagedRun) -> Outcome:
    """A run of which nothing can be told, so nothing was done for it."""
    held = Status(RunState.HELD, Action.DONE, "its record in the ledger cannot be read")
    return Outcome(run_id, held, problem)


#: For a job that the service no longer knows.
_GONE = Snapshot(state=AttemptState.UNKNOWN, raw_state=GONE)
