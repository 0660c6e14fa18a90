"""The actions that move a run: each performs one step and records what came of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator import collector, launcher, publisher, staging
from orchestrator.adapter import ExpectedAdapter, check_adapter
from orchestrator.attempt_requests import output_uri
from orchestrator.catalog import LINEAR_LAYERS
from orchestrator.clock import Clock
from orchestrator.connections import Connections
from orchestrator.digests import sha256_file
from orchestrator.errors import Ambiguous, LedgerError, NotFound, Refused
from orchestrator.job_scripts import job_scripts
from orchestrator.ledger import Artifact, AttemptFacts, Facts, Lease, Ledger
from orchestrator.progress import Reporter
from orchestrator.report.card import model_card
from orchestrator.report.views import RunView, view
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from orchestrator.settings import Settings
from orchestrator.state import GONE, Action, current_attempt, pending_kind
from orchestrator.training_log import failure_reason, metric_points

#: What a pass found out from the services before it moves runs.
News = Mapping[Handle, Snapshot]
Notify = Callable[[str], None]
#: For a job that the service no longer knows.
GONE_SNAPSHOT = Snapshot(state=AttemptState.UNKNOWN, raw_state=GONE)
#: How often the log of a job that runs is read for its metrics.
_METRICS_EVERY_S = 30.0
#: Where `sft.py` leaves what it has tuned: in the last commit of its job, and in no other.
FINAL = "final/"
#: What a job says of itself beside what it made.
_ACCOUNTS = frozenset({"result.json", "metrics.jsonl"})
#: What a merge and an export must have left.
_MADE = {
    AttemptKind.MERGE: re.compile(r"^merged/.+\.safetensors$"),
    AttemptKind.EXPORT: re.compile(r"^[^/]+\.(gguf|litertlm)$"),
}


def run_folder(settings: Settings, run_id: str) -> Path:
    """Where the files of a run are kept on this machine."""
    return settings.runs_dir / run_id


class RunActions:
    """Performs actions for runs whose lease is held. `notify` is told, in a line each, of them."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        connections: Connections,
        clock: Clock,
        notify: Notify,
        reporter: Reporter,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._connections = connections
        self._clock = clock
        self._notify = notify
        self._reporter = reporter
        self._metrics_read_s: dict[str, float] = {}

    def perform(self, action: Action, facts: Facts, lease: Lease, news: News) -> None:
        """Perform one action. Raises `OrchestratorError` for what a later pass may try again."""
        perform = {
            Action.STAGE: self.stage,
            Action.LAUNCH: self.launch,
            Action.FIND: self.find,
            Action.CANCEL: self.cancel,
            Action.COLLECT: self.collect,
            Action.RECORD: self.record,
            Action.CHECK_ADAPTER: self.check_adapter,
            Action.PUBLISH: self.publish,
        }
        if action is Action.INSPECT:
            self.inspect(facts, lease, news)
        else:
            perform[action](facts, lease)

    def stage(self, facts: Facts, lease: Lease) -> None:
        """Put the plan's files where the service can read them."""
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
        if target.service == "hf-jobs":
            staged = self._stage_for_jobs(facts, files)
        else:
            store = self._connections.store(target)
            staged = staging.stage(store, files, target.bucket, self._reporter)
        uploaded = sum(item.uploaded for item in staged.values())
        self._notify(f"staged {len(staged)} files, {uploaded} of them uploaded")
        artifacts = [
            Artifact("staged", name, item.uri, item.size_bytes, item.sha256)
            for name, item in staged.items()
        ]
        lease.record_artifacts(artifacts, "staged", {"uploaded": uploaded})

    def _stage_for_jobs(
        self, facts: Facts, files: Mapping[str, Path]
    ) -> Mapping[str, staging.StagedFile]:
        """Rows, the few of them that answers are generated for, and scripts: one commit."""
        run = facts.run
        recipe = run.plan.recipe
        if recipe is not None and recipe.probes and "validation" in files:
            probe = run_folder(self._settings, run.id) / "probe.jsonl"
            staging.copy_first_lines(files["validation"], probe, recipe.probes)
            files = {**files, "probe": probe}
        return staging.stage_in_repo(
            self._connections.hub_commits, run.target.bucket, files, job_scripts(), self._reporter
        )

    def launch(self, facts: Facts, lease: Lease) -> None:
        """Launch the pending kind of attempt, at most once."""
        store = self._connections.store(facts.run.target)
        staged = facts.artifacts_of("staged").values()
        if any(store.stat(item.uri) is None for item in staged):
            # Swept up, or past the bucket's own rules for old objects, since they were staged.
            self.stage(facts, lease)
        kind = pending_kind(facts) or AttemptKind.TUNE
        with self._reporter.unbroken("the answer to the launch"):
            launcher.launch(
                self._ledger.facts(facts.run.id),
                self._connections.service(facts.run.target),
                lease,
                kind=kind,
                clock=self._clock,
                call_timeout_s=self._settings.call_timeout_s,
            )
        attempt = self._ledger.facts(facts.run.id).newest(kind)
        if attempt and attempt.handle:
            self._notify(f"launched {attempt.handle.id}")

    def find(self, facts: Facts, lease: Lease) -> None:
        """Look for the job of an intent whose answer was lost."""
        attempt = current_attempt(facts)
        if attempt is not None:
            launcher.find_again(
                attempt,
                self._connections.service(facts.run.target),
                lease,
                clock=self._clock,
                visibility_window_s=self._settings.visibility_window_s,
            )

    def cancel(self, facts: Facts, lease: Lease) -> None:
        """Ask the service to stop the job."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        self._connections.service(facts.run.target).cancel(attempt.handle)
        lease.add_event("cancel_sent", {}, attempt.id)
        self._notify(f"asked the service to cancel {attempt.handle.id}")

    def inspect(self, facts: Facts, lease: Lease, news: News) -> None:
        """Record what the service says now."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        snapshot = news.get(attempt.handle)
        if snapshot is not None and snapshot.state is AttemptState.RUNNING:
            self._follow_metrics(facts, attempt, lease)
        if snapshot is None or snapshot == attempt.snapshot:
            return
        if snapshot is GONE_SNAPSHOT and self._is_recent(attempt.launched_at or attempt.intent_at):
            return  # what was created just now may not be visible yet
        if snapshot.state is AttemptState.FAILED:
            snapshot = self._with_reason(facts, attempt, snapshot, lease)
        lease.record_snapshot(attempt.id, snapshot)
        if attempt.snapshot is None or attempt.snapshot.state is not snapshot.state:
            self._notify(f"{facts.run.id}: {snapshot.raw_state}")

    def _with_reason(
        self, facts: Facts, attempt: AttemptFacts, snapshot: Snapshot, lease: Lease
    ) -> Snapshot:
        """The snapshot with what the script itself says went wrong: the service knows no more
        than its exit code. What the script had measured until then is recorded as well.
        """
        target = facts.run.target
        if target.service != "hf-jobs" or attempt.handle is None:
            return snapshot
        lines = self._connections.jobs(target.project).log_lines(attempt.handle)
        try:
            texts = [line.text for line in lines]
        except (Ambiguous, Refused):
            return snapshot  # the page with the log is still there
        points = metric_points(texts)
        if points:
            lease.record_metrics(attempt.id, points)
        reason = failure_reason(texts)
        if reason is None:
            return snapshot
        reason = self._without_secrets(facts, reason)
        return dataclasses.replace(snapshot, error=f"{snapshot.error}: {reason}")

    def _without_secrets(self, facts: Facts, text: str) -> str:
        """What a script said, without the values of the secrets that its job was given."""
        settings, names = self._settings, facts.run.plan.spec.service.secrets
        values = {name: settings.secrets.get(name) for name in names}
        for name, value in {**values, "HF_TOKEN": settings.hub_token}.items():
            if value:
                text = text.replace(value, f"[{name}]")
        return text

    def _follow_metrics(self, facts: Facts, attempt: AttemptFacts, lease: Lease) -> None:
        """Record the time series of a training that goes on, where the service streams its log."""
        target, now_s = facts.run.target, self._clock.elapsed_s()
        read_s = self._metrics_read_s.get(attempt.id)
        early = read_s is not None and read_s + _METRICS_EVERY_S > now_s
        if target.service != "hf-jobs" or attempt.handle is None or early:
            return
        self._metrics_read_s[attempt.id] = now_s
        lines = self._connections.jobs(target.project).log_lines(attempt.handle)
        try:
            points = metric_points(line.text for line in lines)
        except (Ambiguous, Refused) as problem:
            # Metrics are for information: the state of the job counts.
            self._notify(f"no metrics of {attempt.handle.id} now: {problem.message}")
            return
        if points:
            lease.record_metrics(attempt.id, points)

    def _is_recent(self, instant: datetime) -> bool:
        """Whether the service's lists may not show yet what happened then."""
        window = timedelta(seconds=self._settings.visibility_window_s)
        return self._clock.now() < instant + window

    def collect(self, facts: Facts, lease: Lease) -> None:
        """Download what a training left."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        store = self._connections.store(facts.run.target)
        output = self._output(facts, attempt, attempt.handle)
        folder = run_folder(self._settings, facts.run.id) / "collected"
        # Without it the last commit of the job is not to be seen (yet), and what is there is a
        # checkpoint from the middle of the training.
        whole = facts.run.target.service != "hf-jobs" or store.list(f"{output}/{FINAL}")
        found = (
            collector.collect(store, output, folder, still_ours=lease.keep, reporter=self._reporter)
            if whole
            else None
        )
        if found is None:
            self._nothing_there(attempt, lease, f"there is no adapter under {output}")
            return
        if found.metrics:
            lease.record_metrics(attempt.id, found.metrics)
        data = {
            "source": found.source_uri,
            "summary": dict(found.summary),
            "ignored": list(found.ignored),
        }
        lease.record_artifacts(found.artifacts, "collected", data, attempt.id)
        self._notify(f"collected {len(found.artifacts)} files from {found.source_uri}")

    def record(self, facts: Facts, lease: Lease) -> None:
        """Take down what a merge or an export left; it stays in the private repo of results."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        output = self._output(facts, attempt, attempt.handle)
        prefix = f"{output}/"
        there = self._connections.store(facts.run.target).list(prefix)
        every = {item.uri.removeprefix(prefix): item.size_bytes for item in there}
        files = {name: size for name, size in every.items() if name not in _ACCOUNTS}
        if not any(map(_MADE[attempt.kind].search, files)):
            self._nothing_there(attempt, lease, f"there is no {attempt.kind} under {output}")
            return
        source = f"{prefix}merged" if attempt.kind is AttemptKind.MERGE else output
        lease.add_event("produced", {"source": source, "files": files}, attempt.id)
        self._notify(f"{attempt.kind}: {len(files)} files in {facts.run.target.candidates}")

    def _output(self, facts: Facts, attempt: AttemptFacts, handle: Handle) -> str:
        """Where an attempt left its files, at this moment's commit where the store has commits."""
        target = facts.run.target
        try:
            output = self._connections.service(target).outputs(handle)
        except NotFound:
            if target.candidates is None:
                raise
            # The service forgets jobs; what they left is where they were told to leave it.
            output = output_uri(facts.run, attempt.id)
        return self._connections.store(target).pin(output)

    def _nothing_there(self, attempt: AttemptFacts, lease: Lease, what: str) -> None:
        """Record that a job left nothing, unless its files may only not be listed yet."""
        ended_at = attempt.snapshot.ended_at if attempt.snapshot else None
        if self._is_recent(ended_at or attempt.intent_at):
            return
        reason = f"the job reports success, but {what}"
        lease.add_event("nothing_collected", {"reason": reason}, attempt.id)

    def check_adapter(self, facts: Facts, lease: Lease) -> None:
        """Check what was collected, and build the folder that may be published."""
        plan = facts.run.plan
        expected = ExpectedAdapter(
            base_model=plan.model.id,
            hub_id=plan.model.hub_id,
            accepted_names=(plan.spec.base_model,),
            rank=plan.hyperparameters.rank,
            allowed_targets=(plan.recipe and plan.recipe.targets) or LINEAR_LAYERS,
        )
        folder = run_folder(self._settings, facts.run.id)
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

    def publish(self, facts: Facts, lease: Lease) -> None:
        """Publish the checked files with their card."""
        folder = run_folder(self._settings, facts.run.id) / "adapter"
        # Only what was checked is published: the files may have changed since, or be elsewhere.
        if self._lost_files(facts, lease, folder, "adapter"):
            return
        card = model_card(self._view(facts.run.id))
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

    def _view(self, run_id: str) -> RunView:
        return view(self._ledger.facts(run_id), self._ledger.metrics(run_id), self._clock.now())
