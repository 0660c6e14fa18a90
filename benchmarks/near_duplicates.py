"""Speed, recall and memory of the search for near-duplicates, with peers in the same run.

python benchmarks/near_duplicates.py [--rows N] [--out FILE]

Makes N distinct texts of 18 to 30 words, a tenth of them copies with one word changed, and looks
for the copies: with `orchestrator.dataset.nearness.near_duplicates`, with rensa's own deduplicator
(which verifies nothing and names no pairs), and with datasketch where it is installed. Each runs in
a process of its own, whose memory at its peak, less that after making the texts, is its cost.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THRESHOLD = 0.8
PERMUTATIONS = 128


@dataclass(frozen=True)
class Measured:
    """One search: seconds, copies found of those there are, false hits, bytes at the peak."""

    name: str
    seconds: float
    found: int
    copies: int
    false_hits: int
    extra_bytes: int


def texts(rows: int) -> tuple[list[str], set[int]]:
    """The texts, and the numbers of those that are changed copies of the one before."""
    rng = random.Random(11)  # noqa: S311 (the same texts in every run)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(20_000)]
    made: list[str] = []
    copies = set()
    while len(made) < rows:
        words = rng.choices(vocabulary, k=rng.randint(18, 30))
        made.append(" ".join(words))
        if len(made) % 10 == 9:
            words[rng.randrange(len(words))] = "changed"
            copies.add(len(made))
            made.append(" ".join(words))
    return made, copies


def ours(made: list[str]) -> set[int]:
    """The later rows of each group."""
    from orchestrator.dataset.nearness.near_duplicates import NearDuplicates

    near = NearDuplicates(THRESHOLD, 42)
    for index, text in enumerate(made):
        near.add(index, text)
    return {index for group in near.groups() for index in group[1:]}


def rensa_alone(made: list[str]) -> set[int]:
    """What rensa's deduplicator would leave out."""
    from rensa import RMinHashDeduplicator

    finder = RMinHashDeduplicator(THRESHOLD, PERMUTATIONS, use_lsh=True, seed=42)
    kept = finder.add_pairs((str(index), text.split()) for index, text in enumerate(made))
    return {index for index, new in enumerate(kept) if not new}


def datasketch(made: list[str]) -> set[int]:
    """Rows that have an earlier one in datasketch's index."""
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-not-found]  # a peer

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    found = set()
    for number, text in enumerate(made):
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([word.encode() for word in text.split()])
        if index.query(signature):
            found.add(number)
        index.insert(number, signature)
    return found


SEARCHES = {"orchestrator": ours, "rensa alone": rensa_alone, "datasketch": datasketch}


def measure(name: str, rows: int) -> Measured:
    """One search in this process."""
    made, copies = texts(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = SEARCHES[name](made)
    seconds = time.perf_counter() - started
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    right = found & copies
    return Measured(name, round(seconds, 2), len(right), len(copies), len(found - copies), extra)


def in_own_process(name: str, rows: int) -> Measured:
    """One search in a process of its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--search", name]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return Measured(**json.loads(done.stdout))


def show(measured: list[Measured], rows: int) -> None:
    """One line a search."""
    print(f"{rows} texts, threshold {THRESHOLD}, {PERMUTATIONS} permutations")
    print(f"{'search':14}  seconds  / ours   recall  false  MB for a million rows")
    for one in measured:
        print(
            f"{one.name:14}  {one.seconds:7.2f}  {one.seconds / measured[0].seconds:6.2f}  "
            f"{one.found / one.copies:7.4f}  {one.false_hits:5}  "
            f"{one.extra_bytes / rows:21.0f}"
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--search", choices=SEARCHES, help="one, in this process, as JSON")
    out = ROOT / "build" / "benchmarks" / "near_duplicates.json"
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    if arguments.search:
        print(json.dumps(asdict(measure(arguments.search, arguments.rows))))
        return
    names = [n for n in SEARCHES if n != "datasketch" or importlib.util.find_spec(n)]
    measured = [in_own_process(name, arguments.rows) for name in names]
    show(measured, arguments.rows)
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "rows": arguments.rows,
        "searches": [asdict(one) for one in measured],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten: {arguments.out}")


if __name__ == "__main__":
    main()
