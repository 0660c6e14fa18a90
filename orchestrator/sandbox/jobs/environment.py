"""The environment of a job: what the service sets, what was asked for, and nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.sandbox.jobs.hardware import FLAVORS
from orchestrator.sandbox.jobs.records import JobRecord

_PASSED_ON = ("LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "NO_PROXY", "no_proxy")


def job_environment(
    record: JobRecord,
    secrets: Mapping[str, str],
    work: Path,
    *,
    endpoint: str,
    rewrite: Callable[[str], str],
) -> dict[str, str]:
    """What the command sees: no token but what is among the secrets, and the Hub of the sandbox.

    What the service sets itself overrides what was asked for, as users of the real one saw.
    """
    asked = {name: rewrite(value) for name, value in record.request.environment.items()}
    folders = [str(work / "bin"), os.environ.get("PATH", os.defpath)]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONNOUSERSITE": "1",
        # Compiled files would be written beside the scripts, which are mounted read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
        # Several trainings may run beside each other and what the machine does anyway.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # A rehearsal is the same everywhere, with a GPU or without.
        "CUDA_VISIBLE_DEVICES": "",
        **asked,
        **secrets,
        **_set_by_the_service(record),
        "PATH": os.pathsep.join(folders),
        "HOME": str(work / "home"),
        "HF_HOME": str(work / "home" / "hf"),
        "TMPDIR": str(work / "tmp"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
    }


def _set_by_the_service(record: JobRecord) -> dict[str, str]:
    """The four variables that the documentation of Jobs names."""
    flavor = FLAVORS[record.request.flavor]
    return {
        "JOB_ID": record.id,
        "ACCELERATOR": flavor.name if flavor.gpu else "none",
        "CPU_CORES": str(flavor.cpus),
        "MEMORY": f"{flavor.ram_gb}Gi",
    }
