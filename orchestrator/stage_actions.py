"""Staging as an action of a run: its splits, its scripts, and the rows that are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator import staging
from orchestrator.attempt_requests import EVALUATION_ROWS, SHOTS
from orchestrator.connections import Connections
from orchestrator.digests import sha256_file
from orchestrator.errors import LedgerError
from orchestrator.evaluation_actions import evaluation_rows
from orchestrator.evaluation_facts import planned
from orchestrator.job_scripts import job_scripts
from orchestrator.ledger import Artifact, Facts, Lease
from orchestrator.progress import Reporter
from orchestrator.run_folders import run_folder
from orchestrator.settings import Settings

#: Examples for the untuned model are drawn from so many of the training rows.
_SHOTS_FROM = 256


class StageActions:
    """Stages for runs whose lease is held. `notify` is told, in a line, what was."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        notify: Callable[[str], None],
        reporter: Reporter,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._notify = notify
        self._reporter = reporter

    def stage(self, facts: Facts, lease: Lease) -> None:
        """Put the plan's files where the service can read them."""
        target = facts.run.target
        folder = Path(facts.run.data_folder)
        trains = not facts.is_adopted
        splits = [s for s in facts.run.plan.splits if s.rows and s.name != "test" and trains]
        files = {split.name: folder / f"{split.name}.jsonl" for split in splits}
        for split in splits:
            path = files[split.name]
            if not path.is_file() or sha256_file(path) != split.sha256:
                raise LedgerError(
                    f"{path} is missing or was changed since the run was submitted",
                    hint="Submit the spec again with --again.",
                )
        if target.service == "hf-jobs":
            staged = self._stage_for_jobs(facts, files, target.bucket)
        else:
            staged = {}
            if files:
                store = self._connections.store(target)
                staged = staging.stage(store, files, target.bucket, self._reporter)
            if target.jobs_rows is not None:  # its answers are generated elsewhere
                staged = {**staged, **self._stage_for_jobs(facts, {}, target.jobs_rows)}
        uploaded = sum(item.uploaded for item in staged.values())
        self._notify(f"staged {len(staged)} files, {uploaded} of them uploaded")
        artifacts = [
            Artifact("staged", name, item.uri, item.size_bytes, item.sha256)
            for name, item in staged.items()
        ]
        lease.record_artifacts(artifacts, "staged", {"uploaded": uploaded})

    def _stage_for_jobs(
        self, facts: Facts, files: Mapping[str, Path], repo_uri: str
    ) -> Mapping[str, staging.StagedFile]:
        """Rows, the few of them that answers are generated for, and scripts: one commit."""
        run, folder = facts.run, run_folder(self._settings, facts.run.id)
        recipe, how = run.plan.recipe, planned(facts)
        if recipe is not None and recipe.probes and "validation" in files:
            probe = folder / "probe.jsonl"
            staging.copy_first_lines(files["validation"], probe, recipe.probes)
            files = {**files, "probe": probe}
        if how is not None and how.service == "hf-jobs":
            folder.mkdir(parents=True, exist_ok=True)
            files = {**files, EVALUATION_ROWS: evaluation_rows(facts, folder)}
            if how.shots:
                shots = folder / "shots.jsonl"
                train = Path(run.data_folder) / "train.jsonl"
                staging.copy_first_lines(train, shots, _SHOTS_FROM)
                files = {**files, SHOTS: shots}
        return staging.stage_in_repo(
            self._connections.hub_commits, repo_uri, files, job_scripts(), self._reporter
        )
