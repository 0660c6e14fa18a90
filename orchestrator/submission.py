"""Submitting: a plan becomes a run in the ledger, after everything it relies on was tried.

Nothing is launched here; `pipeline` moves the run on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.answering.endpoint import Endpoint, token_of
from orchestrator.catalog import load_catalog
from orchestrator.connections import Connections
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError
from orchestrator.ledger import Ledger, RunFacts, Target
from orchestrator.planner import Prepared
from orchestrator.preflight import Needs, Preflight, preflight
from orchestrator.settings import Settings

Notify = Callable[[str], None]


def submit(
    prepared: Prepared,
    settings: Settings,
    ledger: Ledger,
    connections: Connections,
    *,
    again: bool,
    notify: Notify = lambda _: None,
) -> tuple[RunFacts, bool]:
    """The run of a plan, made if need be or if `again`; true if it is new.

    Raises before anything is written if credentials, bucket or repo would fail later.
    """
    plan = prepared.plan
    _need_endpoint_token(prepared)
    existing = None if again else ledger.find_run(plan.digest)
    if existing is not None:
        if (existing.plan.gates, existing.plan.evaluation) != (plan.gates, plan.evaluation):
            notify(
                f"warning: run {existing.id} is judged as its spec said when it was submitted; to "
                f"have it judged by this one: orchestrator evaluate {existing.id} --spec SPEC"
            )
        return existing, False
    target = target_of(prepared, settings, connections, notify)
    folder = write_data(prepared, settings.home / "data")
    return ledger.add_run(plan, target, folder, again=again), True


def _need_endpoint_token(prepared: Prepared) -> None:
    """Raise for an endpoint whose address or token will not do once the training is paid."""
    planned = prepared.plan.evaluation
    if planned is not None and planned.url is not None and planned.model is not None:
        token_of(Endpoint(planned.url, planned.model, planned.token_env), os.environ)


def target_of(
    prepared: Prepared,
    settings: Settings,
    connections: Connections,
    notify: Notify,
    *,
    trains: bool = True,
) -> Target:
    """Where the run executes and publishes; every place is asked before it is relied on.

    Where nothing is trained, Vertex and its bucket are not needed.
    """
    target = _places(prepared, settings, connections, notify, trains=trains)
    _check_visibility(prepared, target, connections, notify)
    return target


def _check_visibility(
    prepared: Prepared, target: Target, connections: Connections, notify: Notify
) -> None:
    """Nobody's model is shown to everybody by a spec that says `private: true`."""
    publish = prepared.plan.spec.publish
    if publish is None or target.repo is None or not publish.private:
        return
    if connections.hub_trees.is_private(target.repo) is not False:
        return
    public = f"{target.repo} is there already, and public: everybody will see what is published"
    if "private" not in publish.model_fields_set:
        notify(f"warning: {public}")
        return
    raise InputError(
        f"the spec says `private: true`, but {public}",
        hint="Make it private in its settings on the Hub, publish under another name, or write "
        "`private: false`.",
    )


def _places(
    prepared: Prepared,
    settings: Settings,
    connections: Connections,
    notify: Notify,
    *,
    trains: bool,
) -> Target:
    if prepared.plan.spec.service.name == "hf-jobs":
        _need_secrets(prepared, settings)
        return _jobs_target(prepared, connections, notify)
    spec = prepared.plan.spec
    target = Target(
        service=spec.service.name,
        project=settings.need_project() if trains else settings.project or "",
        location=spec.service.location,
        bucket=settings.need_bucket() if trains else "",
        repo=None,
    )
    if trains:
        connections.store(target).check_writable(f"{target.bucket}/staged/check")
        connections.service(target).find("orc-preflight")
    planned = prepared.plan.evaluation
    if planned is not None and planned.service == "hf-jobs":
        return _with_answers(prepared, target, connections, notify)
    repo = connections.hub.check_write(spec.publish.repo) if spec.publish else None
    return dataclasses.replace(target, repo=repo)


def _with_answers(
    prepared: Prepared, target: Target, connections: Connections, notify: Notify
) -> Target:
    """The same for a run of vertex whose answers are generated on Hugging Face Jobs."""
    plan, planned = prepared.plan, prepared.plan.evaluation
    block = plan.spec.evaluation
    if planned is None or block is None or planned.flavor is None:
        raise InputError(f"the plan of {plan.name} names no machine for its evaluation")
    found = _asked(
        prepared, planned.flavor, planned.usd_per_hour or 0.0, block.namespace, connections, notify
    )
    return dataclasses.replace(
        target,
        repo=found.publish_repo,
        candidates=found.candidates,
        base_commit=found.base_commit,
        jobs_namespace=found.namespace,
        jobs_rows=f"hf://datasets/{found.staging}",
    )


def _asked(
    prepared: Prepared,
    flavor: str,
    usd_per_hour: float,
    namespace: str | None,
    connections: Connections,
    notify: Notify,
) -> Preflight:
    """What the Hub says of all that a job relies on; raises for whatever stands in its way."""
    plan = prepared.plan
    needs = Needs(
        name=plan.name,
        base_model=plan.model.hub_id,
        flavor=flavor,
        usd_per_hour=usd_per_hour,
        namespace=namespace,
        publish_repo=plan.spec.publish.repo if plan.spec.publish else None,
    )
    found = preflight(
        needs, connections.hub, connections.hub_files, connections.jobs, load_catalog().jobs
    )
    found.raise_for_problems()
    for warning in found.warnings:
        notify(f"warning: {warning}")
    return found


def _need_secrets(prepared: Prepared, settings: Settings) -> None:
    """Raise for a secret that the spec names and the environment does not hold."""
    names = prepared.plan.spec.service.secrets
    missing = [name for name in names if not settings.secrets.get(name)]
    if missing:
        raise InputError(
            f"the spec names the secret {missing[0]}, which is not in the environment",
            hint=f"Set it: export {missing[0]}=...; or take it out of `service.secrets`.",
        )


def _jobs_target(prepared: Prepared, connections: Connections, notify: Notify) -> Target:
    """The same for Hugging Face Jobs, where one token does everything."""
    plan = prepared.plan
    spec, machine = plan.spec, plan.machine
    if machine is None:
        raise InputError(f"the plan of {plan.name} names no machine")
    found = _asked(
        prepared,
        machine.flavor,
        machine.usd_per_hour,
        spec.service.namespace,
        connections,
        notify,
    )
    return Target(
        service=spec.service.name,
        project=found.namespace,
        location="",
        bucket=f"hf://datasets/{found.staging}",
        repo=found.publish_repo,
        candidates=found.candidates,
        base_commit=found.base_commit,
    )


def write_data(prepared: Prepared, parent: Path) -> Path:
    """The splits as files under the plan's digest, written whole or not at all."""
    folder = parent / prepared.plan.digest
    with contextlib.suppress(OSError):
        os.utime(folder)  # a cleaning-up spares what was used a moment ago
    if _is_whole(prepared, folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))
    try:
        for name, file in prepared.data.files.items():
            _place(file, partial / f"{name}.jsonl")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not _is_whole(prepared, folder):  # another process may have been first
            raise InputError(
                f"cannot write {folder}: {error.strerror}",
                hint="Make room, or set ORCHESTRATOR_HOME to a folder that you may write.",
            ) from error
    return folder


def _place(file: Path, target: Path) -> None:
    """Have the same content in another folder: without a copy, where the disk can do that."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _is_whole(prepared: Prepared, folder: Path) -> bool:
    """Whether the folder holds the plan's splits, byte for byte."""
    return all(
        (file := folder / f"{split.name}.jsonl").is_file() and sha256_file(file) == split.sha256
        for split in prepared.plan.splits
        if split.rows
    )
