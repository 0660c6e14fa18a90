"""What a job uses of this machine, as the stream of samples that clients read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from orchestrator.sandbox.edge.waking import Wakers
from orchestrator.sandbox.jobs.hardware import FLAVORS
from orchestrator.sandbox.jobs.process import cpu_ticks_and_memory_bytes
from orchestrator.sandbox.jobs.records import JobRecord

_EVERY_S = 1.0


async def metric_events(
    record: JobRecord, ended: Callable[[], bool], wakers: Wakers
) -> AsyncIterator[bytes]:
    """A sample at once, and another each second (of the machine's own time) until `ended`.

    Processor and memory are those of the processes here; there are no GPUs and no network.
    """
    loop = asyncio.get_running_loop()
    seen = (loop.time(), cpu_ticks_and_memory_bytes(record.id)[0])
    with wakers.woken() as woken:
        while not ended():
            ticks, memory_bytes = cpu_ticks_and_memory_bytes(record.id)
            passed_s = loop.time() - seen[0]
            used_s = (ticks - seen[1]) / os.sysconf("SC_CLK_TCK")
            cores = used_s / passed_s if passed_s > _EVERY_S / 2 else 0.0
            seen = (loop.time(), ticks)
            yield (
                b"event: metric\ndata: "
                + orjson.dumps(_sample(record, cores, memory_bytes))
                + b"\n\n"
            )
            until = loop.time() + _EVERY_S
            while not ended() and (left_s := until - loop.time()) > 0:
                woken.clear()
                try:
                    await asyncio.wait_for(woken.wait(), left_s)
                except TimeoutError:
                    break


def _sample(record: JobRecord, cores: float, memory_bytes: int) -> dict[str, Any]:
    flavor = FLAVORS[record.request.flavor]
    return {
        "cpu_usage_pct": round(100 * cores / flavor.cpus),
        "cpu_millicores": 1000 * flavor.cpus,
        "memory_used_bytes": memory_bytes,
        "memory_total_bytes": flavor.ram_gb << 30,
        "rx_bps": 0,
        "tx_bps": 0,
        "gpus": {},
        "replica": record.id[:5],
    }
