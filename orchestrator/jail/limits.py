"""What a program in the jail may use."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024**2


@dataclass(frozen=True)
class Limits:
    """Bounds of one run. What is bounded by process is multiplied by `processes` at the worst."""

    #: Processor time of a process; a busy machine changes nothing about it.
    cpu_s: int = 5
    #: By the clock, for programs that sleep.
    wall_s: float = 20.0
    #: Memory in use by all processes together, looked at some fifty times a second.
    memory_bytes: int = 1024 * _MIB
    #: Address space of a process; more is refused to it at once.
    process_memory_bytes: int = 1024 * _MIB
    #: Processes and threads, the jail's own two included.
    processes: int = 16
    open_files: int = 64
    #: All of /tmp, which is in memory and the only place that can be written.
    temporary_bytes: int = 64 * _MIB
    #: One file.
    file_bytes: int = 32 * _MIB
    #: Standard output and standard error together.
    output_bytes: int = _MIB
