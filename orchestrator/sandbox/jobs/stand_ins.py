"""All stand-ins for jobs, by name. A new one is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.sandbox.jobs.replay_stand_in import ReplayJobStandIn
from orchestrator.sandbox.jobs.smollm2_stand_in import SmolLM2JobStandIn
from orchestrator.sandbox.jobs.stand_in import JobStandIn
from orchestrator.sandbox.jobs.tiny_stand_in import TinyJobStandIn
from orchestrator.sandbox.standins.base import StandInOptions

#: Makes a stand-in that keeps what it needs below a folder.
JOB_STAND_INS: Mapping[str, Callable[[Path, StandInOptions], JobStandIn]] = {
    "tiny": TinyJobStandIn,
    "smollm2": SmolLM2JobStandIn,
    "replay": ReplayJobStandIn,
}


def job_stand_in(name: str, root: Path, options: StandInOptions) -> JobStandIn:
    """The stand-in of this name; raises `InputError` if there is none."""
    make = JOB_STAND_INS.get(name)
    if make is None:
        raise InputError(
            f"there is no stand-in {name}", hint=f"Stand-ins: {', '.join(JOB_STAND_INS)}."
        )
    return make(root, options)
