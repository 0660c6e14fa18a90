"""What a merge or an export needs of a machine: time, memory and cost. Pure, as `estimate` is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from orchestrator.hardware.catalog import DecoderShape, Flavor, JobsCatalog
from orchestrator.hardware.timing import propose_timeout

FinishingKind = Literal["merge", "gguf", "litertlm"]

#: Merges and exports are made in 32 bits, and their files are read and written so.
_FP32_BYTES = 4
_DOWNLOADED_BYTES = 2
#: Memory a parameter at the busiest moment. A merge holds the model once; the conversion to GGUF
#: one tensor at a time; litert-torch took 5.9 GB for 268 million parameters.
_MEMORY_BYTES = {"merge": 4.0, "gguf": 0.5, "litertlm": 22.0}
#: What Python, torch and the largest tensors take beside it.
_PROCESS_BYTES = 3 * 10**9
#: Bytes a parameter of what is uploaded, at most.
_WRITTEN_BYTES = {"merge": 4.0, "gguf": 4.0, "litertlm": 4.0}


@dataclass(frozen=True)
class FinishingEstimate:
    """One merge or export: seconds, `usd` for the most of them, and why it cannot be."""

    kind: FinishingKind
    low_s: int
    high_s: int
    timeout_s: int
    least_usd: float
    most_usd: float
    problems: tuple[str, ...]


def estimate_finishing(
    kind: FinishingKind, model: DecoderShape, flavor: Flavor, jobs: JobsCatalog
) -> FinishingEstimate:
    """Time, memory and cost of one merge or export, on the processors of a machine."""
    assumed = jobs.assumed
    read = model.parameters * (_DOWNLOADED_BYTES if kind == "merge" else _FP32_BYTES)
    written = model.parameters * _WRITTEN_BYTES[kind]
    work = assumed.merge_s_per_gb if kind == "merge" else assumed.export_s_per_gb
    in_memory_gb = model.parameters * _FP32_BYTES / 1e9
    low = (
        assumed.setup_s.low
        + read / assumed.download_mb_s.high / 1e6
        + in_memory_gb * work.low
        + written / 4 / assumed.upload_mb_s.high / 1e6  # an export may be of one byte a parameter
    )
    upload_s = written / assumed.upload_mb_s.low / 1e6
    high = (
        assumed.setup_s.high
        + read / assumed.download_mb_s.low / 1e6
        + in_memory_gb * work.high
        + upload_s
    )
    return FinishingEstimate(
        kind=kind,
        low_s=math.ceil(low),
        high_s=math.ceil(high),
        timeout_s=propose_timeout(high, upload_s),
        least_usd=_usd(low, flavor),
        most_usd=_usd(high, flavor),
        problems=_problems(kind, model, flavor),
    )


def _usd(seconds: float, flavor: Flavor) -> float:
    return round(math.ceil(seconds / 60) * flavor.usd_per_hour / 60, 4)


def _problems(kind: FinishingKind, model: DecoderShape, flavor: Flavor) -> tuple[str, ...]:
    needed = model.parameters * _MEMORY_BYTES[kind] + _PROCESS_BYTES
    if needed <= flavor.ram_gb * 1e9:
        return ()
    what = "the merge, in 32 bits," if kind == "merge" else f"the export to {kind}"
    problem = (
        f"{what} needs {needed / 1e9:.0f} GB of the machine's own memory and {flavor.name} has "
        f"{flavor.ram_gb:g} GB: name a flavor that has more, or leave `export:` out"
    )
    return (problem,)
