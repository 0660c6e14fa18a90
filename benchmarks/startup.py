"""Start-up times of the commands that people wait for, with compiled bytecode.

python benchmarks/startup.py [--runs N] [--out FILE]

Prints a table of medians with their ratios to `python -c pass` and, where it is installed, to
`hf --help`, and writes the figures as JSON. Bytecode goes to a folder of its own, filled by a first
run that is not counted, so that neither installers nor earlier runs matter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = "router/llama-3.1-8b"
OURS = (
    ("--help",),
    ("--version",),
    ("specs",),
    ("check", SPEC),
    ("plan", SPEC),
    ("plan", SPEC, "--json"),
)


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of whole processes."""

    name: str
    median_s: float
    least_s: float
    runs: int


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "startup.json")
    arguments = parser.parse_args()
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    hf = Path(sys.executable).with_name("hf")
    if hf.exists():
        commands["hf --help"] = [str(hf), "--help"]
    for ours in OURS:
        commands[" ".join(("orchestrator", *ours))] = [sys.executable, "-m", "orchestrator", *ours]
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        timings = measure(commands, arguments.runs, Path(folder))
    show(timings)
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "timings": [asdict(timing) for timing in timings],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten: {arguments.out}")


def measure(commands: dict[str, list[str]], runs: int, folder: Path) -> list[Timing]:
    """Time each command; the rounds go over all of them, so that a busy moment hits all alike."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "ORCHESTRATOR_HOME": str(folder / "home"),
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            done = subprocess.run(command, env=env, cwd=folder, capture_output=True, check=False)
            took_s = time.perf_counter() - started
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr.decode()}")
            if number:
                seconds[name].append(took_s)
    return [
        Timing(name, round(statistics.median(took), 4), round(min(took), 4), len(took))
        for name, took in seconds.items()
    ]


def show(timings: list[Timing]) -> None:
    """One line a command, with its ratio to each of the two that are not ours."""
    by_name = {timing.name: timing for timing in timings}
    others = [name for name in ("python -c pass", "hf --help") if name in by_name]
    width = max(map(len, by_name))
    print(f"{'command':{width}}  median    least", *(f"/ {name}" for name in others), sep="  ")
    for timing in timings:
        ratios = (
            f"{timing.median_s / by_name[name].median_s:{len(name) + 2}.2f}" for name in others
        )
        times = f"{timing.median_s:6.3f} s  {timing.least_s:5.3f} s"
        print(f"{timing.name:{width}}  {times}", *ratios, sep="  ")


if __name__ == "__main__":
    main()
