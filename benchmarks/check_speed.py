"""Speed and memory of the checks `form` and `duplicates`, beside parsers and validators alone.

python benchmarks/check_speed.py [--size-mb N] [--rounds N] [--memory-mb N] [--out FILE]

The rows are the route plans in $ORCHESTRATOR_DATA, made distinct by a number in each prompt, in a
temporary folder. Rounds go over all programs, so that a busy moment hits all alike. Ours runs on
all cores; its speed is given per core by the clock and per second of a processor, without what its
processes take to start (measured with a tiny file in as many parts). The others run on one core, by
the processor's seconds. A bad row on the last line must be found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from orchestrator.data_files import schema  # noqa: E402
from orchestrator.dataset.report import Report  # noqa: E402
from orchestrator.dataset.rules import RowsFile, Rules, TokenRules  # noqa: E402
from orchestrator.dataset.running.engine import check_files, check_in_parts  # noqa: E402
from orchestrator.spec import DataBlock  # noqa: E402

KINDS = ("form", "duplicates")
#: How many bytes the slow peers get; `datasets`, which takes long to begin, ten times as many.
SAMPLE_BYTES = 4_000_000
TOKENS = TokenRules("none", None, None, "none", 0.3, "not used")


@dataclass(frozen=True)
class Speed:
    """Megabytes in a second on one core, and against parsing row and answer."""

    name: str
    mb_per_s: float
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Memory:
    """The most resident memory of all processes together, and how long it took."""

    rows: str
    size_mb: int
    processes: int | None
    peak_mb: int
    seconds: float


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size-mb", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-mb", type=int, default=0, help="also measure memory, e.g. 1000")
    parser.add_argument("--out", type=Path, default=ROOT / "build/benchmarks/check_speed.json")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="check-speed-") as name:
        folder = Path(name)
        file = route_plans(folder / "rows.jsonl", arguments.size_mb * 1_000_000)
        speeds = measure(file, folder, arguments.rounds, cores)
        show(speeds)
        file.unlink()
        memory = [
            peak(make(folder / "rows.jsonl", arguments.memory_mb * 1_000_000), kind, workers)
            for kind, make in (("long rows", route_plans), ("rows of 200 bytes", short_rows))
            for workers in (None, 4)
            if arguments.memory_mb
        ]
    for found in memory:
        processes = f"{found.processes} processes" if found.processes else "all cores"
        print(
            f"{found.size_mb} MB of {found.rows}, {processes}: {found.peak_mb} MB, "
            f"{found.seconds:.1f} s"
        )
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {cores} cores",
        "size_mb": arguments.size_mb,
        "speeds": [asdict(speed) for speed in speeds],
        "memory": [asdict(found) for found in memory],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten: {arguments.out}")


# -------------------------------------------------------------------------------------- rows


def route_plans(target: Path, size_bytes: int) -> Path:
    """The route plans again and again, each with a prompt of its own."""
    outside = os.environ.get("ORCHESTRATOR_DATA") or sys.exit("set ORCHESTRATOR_DATA")
    source = Path(outside, "route-plan/rows.jsonl")
    rows = [orjson.loads(line) for line in source.read_bytes().splitlines()]
    number = 0
    with target.open("wb") as out:
        while out.tell() < size_bytes:
            row = rows[number % len(rows)]
            prompt = f"{row['prompt']}\nRequest {number}"
            out.write(orjson.dumps(row | {"prompt": prompt, "index": number}) + b"\n")
            number += 1
    return target


def short_rows(target: Path, size_bytes: int) -> Path:
    """Rows of 200 bytes."""
    number = 0
    with target.open("wb") as out:
        while out.tell() < size_bytes:
            answer = orjson.dumps({"prompt": f"What is {number}?", "completion": "x" * 160})
            out.write(answer.ljust(199) + b"\n")
            number += 1
    return target


# --------------------------------------------------------------------------------- programs


def rules(answer: str) -> Rules:
    """Rows of prompt and completion; nothing else matters to the two kinds."""
    data = DataBlock(answer=answer)
    return Rules(data, Path(), (), TOKENS, "vertex", None, "", "error", None, 1)


def ours(file: Path, answer: str = "route-plan", workers: int | None = None) -> Report:
    """The checks, on all cores unless told how many processes."""
    return check_files([RowsFile(file, file.name)], rules(answer), KINDS, workers=workers)


def row_and_answer(file: Path) -> None:
    """What ours is measured against."""
    with file.open("rb") as lines:
        for line in lines:
            orjson.loads(orjson.loads(line)["completion"])


def row_alone(file: Path) -> None:
    """orjson on the rows."""
    with file.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def validated(by: str) -> Callable[[Path], None]:
    """orjson and a validator, on row and answer."""
    accept_row, accept_answer = (acceptor(by, name) for name in ("prompt-completion", "route-plan"))

    def run(file: Path) -> None:
        with file.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                accept_row(row)
                accept_answer(orjson.loads(row["completion"]))

    return run


def acceptor(by: str, name: str) -> Callable[[object], object]:
    """What judges a value by a schema."""
    if by == "jsonschema-rs":
        import jsonschema_rs

        return jsonschema_rs.validator_for(schema(name)).is_valid
    if by == "fastjsonschema":
        import fastjsonschema

        compiled: Callable[[object], object] = fastjsonschema.compile(schema(name))
        return compiled
    import jsonschema

    accepts: Callable[[Any], bool] = jsonschema.validators.validator_for(schema(name))(
        schema(name)
    ).is_valid
    return accepts


def loaded(folder: Path) -> Callable[[Path], None]:
    """`datasets.load_dataset`, which writes an Arrow table, into a new cache each time."""
    os.environ |= {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    import datasets

    datasets.disable_progress_bars()

    def run(file: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=cache)

    return run


# ---------------------------------------------------------------------------------- measure


def seconds(run: Callable[[], object]) -> float:
    """How long it takes by the clock."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def processor_s(run: Callable[[], object]) -> float:
    """How long it keeps processors busy, those of its processes too: other load matters less."""
    before = os.times()
    run()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def measure(file: Path, folder: Path, rounds: int, cores: int) -> list[Speed]:
    """The speeds of all programs, in rounds."""
    tiny = route_plans(folder / "tiny.jsonl", 100_000)
    sample = route_plans(folder / "sample.jsonl", SAMPLE_BYTES)
    larger = route_plans(folder / "larger.jsonl", 10 * SAMPLE_BYTES)
    peers: dict[str, tuple[Callable[[Path], None], Path]] = {
        "orjson: row and answer": (row_and_answer, file),
        "orjson: row": (row_alone, file),
        "orjson + jsonschema-rs: row and answer": (validated("jsonschema-rs"), file),
        "orjson + jsonschema: row and answer (sample)": (validated("jsonschema"), sample),
        "orjson + fastjsonschema: row and answer (sample)": (validated("fastjsonschema"), sample),
        "datasets.load_dataset: row (sample)": (loaded(folder), larger),
    }
    mine = f"form, duplicates: per core of {cores}"
    busy = "form, duplicates: per processor second"
    found: dict[str, list[float]] = {mine: [], busy: [], **{name: [] for name in peers}}
    for _ in range(rounds):
        for name, (run, rows) in peers.items():
            took_s = processor_s(lambda run=run, rows=rows: run(rows))  # type: ignore[misc]
            found[name].append(rows.stat().st_size / took_s / 1e6)
        for name, clock, shared in ((mine, seconds, cores), (busy, processor_s, 1)):
            start_s = clock(lambda: in_processes(tiny, cores))
            took_s = clock(lambda: ours(file)) - start_s
            found[name].append(file.stat().st_size / took_s / shared / 1e6)
    with file.open("ab") as out:
        out.write(b'{"prompt": "the last", "completion": "{}"}\n')
    bad = [group for group in ours(file).findings if group.kind == "form"]
    assert [group.count for group in bad] == [1], "the bad row on the last line was not found"
    base = statistics.median(found["orjson: row and answer"])
    return [
        Speed(
            name,
            round(statistics.median(speeds), 1),
            round(statistics.median(speeds) / base, 3),
            (round(min(speeds), 1), round(max(speeds), 1)),
        )
        for name, speeds in found.items()
    ]


def in_processes(file: Path, cores: int) -> Report:
    """A tiny file in as many parts as there are cores, so that all processes start."""
    part_bytes = file.stat().st_size // cores
    return check_in_parts(
        [RowsFile(file, file.name)],
        rules("route-plan"),
        KINDS,
        part_bytes=part_bytes,
        workers=cores,
    )


def peak(file: Path, kind: str, workers: int | None = None) -> Memory:
    """The most memory of all processes of a check, begun in a process of its own."""
    import psutil

    context = multiprocessing.get_context("spawn")
    answer = "route-plan" if "long" in kind else "text"
    began = time.perf_counter()
    check = context.Process(target=ours, args=(file, answer, workers))
    check.start()
    assert check.pid is not None
    top = psutil.Process(check.pid)
    most = 0
    while check.is_alive():
        now = 0
        with contextlib.suppress(psutil.Error):  # it has just ended
            for process in [top, *top.children(recursive=True)]:
                now += process.memory_info().rss
            most = max(most, now)
        check.join(0.05)
    took_s = time.perf_counter() - began
    size_mb = file.stat().st_size // 1_000_000
    file.unlink()
    return Memory(kind, size_mb, workers, most // 1_000_000, round(took_s, 1))


def show(speeds: list[Speed]) -> None:
    """One line a program."""
    width = max(len(speed.name) for speed in speeds)
    print(f"{'program':{width}}    MB/s   ratio  least to most")
    for speed in speeds:
        least, most = speed.spread
        print(f"{speed.name:{width}}  {speed.mb_per_s:6.0f}  {speed.ratio:6.2f}  {least} to {most}")


if __name__ == "__main__":
    main()
