"""The actions that move a run: each performs one step and records what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator import collector, launcher, publisher
from orchestrator.adapter import AdapterReport, ExpectedAdapter, check_adapter
from orchestrator.attempt_requests import output_uri
from orchestrator.catalog import LINEAR_LAYERS
from orchestrator.clock import Clock
from orchestrator.connections import Connections
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError, NotFound, OrchestratorError
from orchestrator.evaluation_actions import EvaluationActions
from orchestrator.evaluation_facts import candidate, is_judged
from orchestrator.job_following import JobFollowing
from orchestrator.ledger import ADOPTED, Artifact, AttemptFacts, Facts, Lease, Ledger
from orchestrator.progress import Reporter
from orchestrator.report.card import card_files, model_card
from orchestrator.report.views import RunView, view
from orchestrator.run_folders import run_folder
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from orchestrator.settings import HUB, Settings
from orchestrator.stage_actions import StageActions
from orchestrator.state import GONE, Action, current_attempt, pending_kind

#: What a pass found out from the services before it moves runs.
News = Mapping[Handle, Snapshot]
Notify = Callable[[str], None]
#: For a job that the service no longer knows.
GONE_SNAPSHOT = Snapshot(state=AttemptState.UNKNOWN, raw_state=GONE)
#: Where `sft.py` leaves what it has tuned: in the last commit of its job, and in no other.
FINAL = "final/"
#: What a job says of itself beside what it made.
_ACCOUNTS = frozenset({"result.json", "metrics.jsonl"})
#: What a merge and an export must have left.
_MADE = {
    AttemptKind.MERGE: re.compile(r"^merged/.+\.safetensors$"),
    AttemptKind.EXPORT: re.compile(r"^[^/]+\.(gguf|litertlm)$"),
}


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
        self._staging = StageActions(settings, connections, notify, reporter)
        self._following = JobFollowing(settings, connections, clock, notify)
        self._evaluation = EvaluationActions(connections)

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
            Action.OFFER: self.offer,
            Action.EVALUATE: self.evaluate,
            Action.PUBLISH: self.publish,
        }
        if action is Action.INSPECT:
            self.inspect(facts, lease, news)
        else:
            perform[action](facts, lease)

    def stage(self, facts: Facts, lease: Lease) -> None:
        """Put the plan's files where the services can read them."""
        self._staging.stage(facts, lease)

    def launch(self, facts: Facts, lease: Lease) -> None:
        """Launch the pending kind of attempt, at most once."""
        target = facts.run.target
        staged = facts.artifacts_of("staged").values()
        stores = self._connections
        if any(stores.store_of(target, item.uri).stat(item.uri) is None for item in staged):
            # Swept up, or past the bucket's own rules for old objects, since they were staged.
            self.stage(facts, lease)
        kind = pending_kind(facts)
        if kind is None:
            return
        with self._reporter.unbroken("the answer to the launch"):
            launcher.launch(
                self._ledger.facts(facts.run.id),
                self._connections.service(target.of(kind)),
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
                self._connections.service(facts.run.target.of(attempt.kind)),
                lease,
                clock=self._clock,
                visibility_window_s=self._settings.visibility_window_s,
            )

    def cancel(self, facts: Facts, lease: Lease) -> None:
        """Ask the service to stop the job."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        self._connections.service(facts.run.target.of(attempt.kind)).cancel(attempt.handle)
        lease.add_event("cancel_sent", {}, attempt.id)
        self._notify(f"asked the service to cancel {attempt.handle.id}")

    def inspect(self, facts: Facts, lease: Lease, news: News) -> None:
        """Record what the service says now."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        snapshot = news.get(attempt.handle)
        if snapshot is not None and snapshot.state is AttemptState.RUNNING:
            self._following.follow_metrics(facts, attempt, lease)
        if snapshot is None or snapshot == attempt.snapshot:
            return
        if snapshot is GONE_SNAPSHOT and self._is_recent(attempt.launched_at or attempt.intent_at):
            return  # what was created just now may not be visible yet
        if snapshot.state is AttemptState.FAILED:
            snapshot = self._following.with_reason(facts, attempt, snapshot, lease)
        lease.record_snapshot(attempt.id, snapshot)
        if attempt.snapshot is None or attempt.snapshot.state is not snapshot.state:
            self._notify(f"{facts.run.id}: {snapshot.raw_state}")

    def _is_recent(self, instant: datetime) -> bool:
        """Whether the service's lists may not show yet what happened then."""
        window = timedelta(seconds=self._settings.visibility_window_s)
        return self._clock.now() < instant + window

    def collect(self, facts: Facts, lease: Lease) -> None:
        """Download what a training left."""
        attempt = current_attempt(facts)
        if attempt is None or attempt.handle is None:
            return
        output = self._output(facts, attempt, attempt.handle)
        store = self._connections.store_of(facts.run.target, output)
        folder = run_folder(self._settings, facts.run.id) / "collected"
        # Without it the last commit of the job is not to be seen (yet), and what is there is a
        # checkpoint from the middle of the training.
        keeps_parts = attempt.handle.service == "hf-jobs"
        whole = not keeps_parts or store.list(f"{output}/{FINAL}")
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
            "libraries": dict(found.libraries),
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
        there = self._connections.store(facts.run.target.of(attempt.kind)).list(prefix)
        if attempt.kind is AttemptKind.GENERATE:
            folder = run_folder(self._settings, facts.run.id)
            try:
                ways = self._evaluation.record_answers(facts, attempt, lease, prefix, there, folder)
            except InputError as problem:
                lease.add_event("nothing_collected", {"reason": problem.message}, attempt.id)
                return
            if not ways:
                self._nothing_there(attempt, lease, f"there are no predictions under {output}")
            else:
                self._notify(f"answers: {', '.join(ways)}")
            return
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
        if handle.service == ADOPTED:
            return handle.id
        target = facts.run.target.of(attempt.kind)
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
        report = self._not_of_a_rehearsal(_unchanged_since_judged(report, facts))
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

    def _not_of_a_rehearsal(self, report: AdapterReport) -> AdapterReport:
        """The report, with a problem more where a stand-in's weights would reach the real Hub."""
        if report.stand_in is None or report.problems or self._settings.hub_endpoint != HUB:
            return report
        problem = "the weights are those of a rehearsal's stand-in, which nobody is to have"
        return report.model_copy(update={"files": (), "problems": (problem,)})

    def offer(self, facts: Facts, lease: Lease) -> None:
        """Put the checked files into the private repo of candidates."""
        folder = run_folder(self._settings, facts.run.id)
        if not self._lost_files(facts, lease, folder / "adapter", "adapter"):
            self._notify(self._evaluation.offer(facts, lease, folder))

    def evaluate(self, facts: Facts, lease: Lease) -> None:
        """Score the answers, and judge them by the gates."""
        folder = run_folder(self._settings, facts.run.id)
        metrics = self._ledger.metrics(facts.run.id)
        for line in self._evaluation.ask(facts, lease, folder):
            self._notify(line)
        facts = self._ledger.facts(facts.run.id)
        for line in self._evaluation.evaluate(facts, lease, metrics, folder):
            self._notify(line)

    def publish(self, facts: Facts, lease: Lease) -> None:
        """Publish the checked files with their card."""
        folder = run_folder(self._settings, facts.run.id) / "adapter"
        # Only what was checked is published: the files may have changed since, or be elsewhere.
        if self._lost_files(facts, lease, folder, "adapter"):
            return
        shown = self._view(facts.run.id)
        pictures = card_files(shown)
        for name, content in pictures.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        card = model_card(shown, pictures)
        (folder / publisher.CARD).write_text(card, encoding="utf-8", newline="\n")
        item = publisher.publication(facts, folder, pictures)
        publisher.publish(item, self._connections.hub, facts, lease, self._reporter)
        if self._ledger.facts(facts.run.id).last("published") is None:
            return  # held; the state says why
        self._notify(f"published to {item.repo}")
        self._collect_into(facts, item.repo, lease)

    def _collect_into(self, facts: Facts, repo: str, lease: Lease) -> None:
        """Add what is published to the collection that the spec names; failing undoes nothing."""
        publish = facts.run.plan.spec.publish
        if publish is None or publish.collection is None:
            return
        try:
            entry = self._connections.hub_collections.put(publish.collection, repo)
        except OrchestratorError as problem:
            lease.add_event("collection_failed", {"message": str(problem)})
            self._notify(f"warning: not added to {publish.collection}: {problem}")
            return
        lease.add_event("added_to_collection", {"collection": entry.slug})

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


def _unchanged_since_judged(report: AdapterReport, facts: Facts) -> AdapterReport:
    """The report, with a problem more where the files are not those that were judged.

    Files that were lost here are collected again, and buckets and folders can change meanwhile.
    """
    before = {name: one.sha256 for name, one in facts.artifacts_of("adapter").items()}
    now = {one.path: one.sha256 for one in report.files}
    if report.problems or not is_judged(facts) or now == before:
        return report
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    offered = candidate(facts)
    kept = (
        "; what was judged is kept, adopt it: orchestrator adopt "
        f"hf://models/{offered.data.get('repo')}@{offered.data.get('revision')} --spec SPEC"
        if offered
        else ""
    )
    problem = f"collected again, {', '.join(names)} is not what was judged before{kept}"
    return report.model_copy(update={"files": (), "problems": (problem,)})
