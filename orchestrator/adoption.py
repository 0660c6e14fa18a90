"""Adopts what was trained elsewhere: a finished job, or weights at rest, becomes a run of a spec.

From there on it is a run like any other: collected, checked, evaluated, gated, published. Nothing
is ever trained for it: its training stands in the ledger as ended from the first moment on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator import submission
from orchestrator.clock import Clock
from orchestrator.collector import best_checkpoint
from orchestrator.connections import Connections
from orchestrator.errors import InputError, NotFound, Place
from orchestrator.ledger import ADOPTED, Adopted, Ledger, RunFacts, Target
from orchestrator.planner import Prepared
from orchestrator.services.base import AttemptState, Handle, Snapshot
from orchestrator.settings import Settings
from orchestrator.state import RunState, status
from orchestrator.stores.local import file_uri

_URI = re.compile(r"(gs|hf)://")


@dataclass(frozen=True)
class _Found:
    """Where the weights are, and the job that left them, if one did."""

    uri: str
    snapshot: Snapshot
    job: Handle | None = None


def adopt(
    prepared: Prepared,
    what: str,
    settings: Settings,
    ledger: Ledger,
    connections: Connections,
    *,
    clock: Clock,
    notify: Callable[[str], None] = lambda _: None,
) -> RunFacts:
    """The run that a finished job, a folder or a URI becomes.

    Raises before anything is written if there are no weights, the job has not succeeded or is that
    of another run, or what the run relies on later cannot be had.
    """
    if not what.strip():
        # Of a script whose variable is not set; it would name the folder that one is in.
        raise InputError(
            "what is to be adopted is empty", hint="Give a job's name, a folder, or a URI."
        )
    folder = Path(what)
    is_job = not _is_there(folder) and _URI.match(what) is None
    target = submission.target_of(prepared, settings, connections, notify, trains=is_job)
    found = _job(what, target, connections) if is_job else _at_rest(what, folder, clock)
    uri = connections.store_of(target, found.uri).pin(found.uri.rstrip("/"))
    known = frozenset(ledger.run_ids())
    names = [item.uri for item in connections.store_of(target, uri).list(f"{uri}/")]
    best = best_checkpoint(name.removeprefix(f"{uri}/") for name in names)
    _need_unknown(ledger, uri, f"{uri}/{best or ''}", found.job, clock)
    if best is None:
        raise InputError(
            f"there are no weights below {what}",
            hint="Looked for adapter_model.safetensors and model.safetensors, in any folder below.",
        )
    adopted = Adopted(
        Handle(ADOPTED, uri),
        found.snapshot,
        {"what": what, "job": found.job and found.job.id, "weights": f"{uri}/{best}"},
        looked_at=known,
    )
    data = submission.write_data(prepared, settings.home / "data")
    return ledger.add_run(prepared.plan, target, data, again=True, adopted=adopted)


def _is_there(path: Path) -> bool:
    """Whether this machine has it; what cannot even be a name here may be a job's."""
    try:
        return path.exists()
    except OSError:
        return False


def _at_rest(what: str, folder: Path, clock: Clock) -> _Found:
    if folder.is_file():
        if best_checkpoint([folder.name]) is None:
            raise InputError(
                "this is no file of weights",
                where=Place(what),
                hint="Name the folder, or adapter_model.safetensors or model.safetensors in it.",
            )
        folder = folder.parent
    uri = file_uri(folder) if folder.is_dir() else what
    now = clock.now()
    return _Found(uri, Snapshot(AttemptState.SUCCEEDED, "ADOPTED", ended_at=now))


def _job(name: str, target: Target, connections: Connections) -> _Found:
    service = connections.service(target)
    handle = Handle(target.service, name)
    try:
        snapshot = service.inspect([handle]).get(handle)
    except (InputError, NotFound):  # no name that a job could have, or nobody's namespace
        snapshot = None
    if snapshot is None:
        raise InputError(
            f"{target.service} knows no job {name}, and there is no such folder",
            hint="Give a job's full name at the service, a folder, or a URI (gs://… or hf://…).",
        )
    if snapshot.state is not AttemptState.SUCCEEDED:
        raise InputError(
            f"the job {name} is {snapshot.raw_state}: only what has succeeded is adopted",
            hint="Wait for its end, or adopt the folder of a checkpoint that it left.",
        )
    return _Found(service.outputs(handle), snapshot, handle)


def _need_unknown(ledger: Ledger, uri: str, weights: str, job: Handle | None, clock: Clock) -> None:
    """Raise if a run of this ledger has the job, or these weights, already.

    `weights` is the folder that they are in: folders around it are no other weights. A run that was
    adopted and came to nothing is no hindrance: nothing else can be done with it.
    """
    for run_id in ledger.run_ids():
        facts = ledger.facts(run_id)
        handles = [attempt.handle for attempt in facts.attempts if attempt.handle is not None]
        adopted = facts.last("adopted") if facts.is_adopted else None
        same_job = job is not None and (
            job in handles or (adopted is not None and adopted.data.get("job") == job.id)
        )
        same_weights = (adopted is not None and adopted.data.get("weights") == weights) or any(
            event.data.get("source") == weights
            for event in facts.events
            if event.kind == "collected"
        )
        if not same_job and not same_weights and Handle(ADOPTED, uri) not in handles:
            continue
        failed = status(facts, clock.now()).state is RunState.FAILED
        if failed and (facts.is_adopted or not same_job):
            continue
        raise InputError(f"that is run {run_id} already", hint=f"See: orchestrator show {run_id}")
