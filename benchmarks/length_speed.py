"""How fast tokens are counted, beside the tokenizer alone on the same texts.

python benchmarks/length_speed.py --data FOLDER --tokenizer FOLDER [--copies N] [--out FILE]

The peer is `encode_batch_fast` of the tokenizers library on all cores, with texts that are rendered
already. Ours renders every row twice, counts prompt and answer apart, and in the last column reads
the rows from a file and checks them too. Rows are those of the outside data (cycling-copilot: a
long list of tools that all rows share; route-plan: texts that share nothing), made distinct.
Start-up is left out: the tokenizer is loaded before, and the check of files is timed by how much
longer twice the rows take. The best of several runs counts, peers and ours in turn.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import RowsFile, Rules, TokenRules
from orchestrator.dataset.running.engine import check_files
from orchestrator.dataset.tokens.counting import ExactCounter
from orchestrator.dataset.tokens.rendering import render_example
from orchestrator.dataset.tokens.templates import find_template
from orchestrator.dataset.tokens.tokenizer import load_tokenizer
from orchestrator.dataset.tools import load_tools
from orchestrator.spec import DataBlock

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Timing:
    """Seconds for the same rows, the least of several runs."""

    rows: str
    count: int
    tokens: int
    encode_batch_fast_s: float
    counter_s: float
    check_files_s: float

    @property
    def counter_ratio(self) -> float:
        """The speed of the counter over that of the tokenizer alone."""
        return self.encode_batch_fast_s / self.counter_s

    @property
    def check_ratio(self) -> float:
        """The speed of the whole check over that of the tokenizer alone."""
        return self.encode_batch_fast_s / self.check_files_s


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outside data")
    parser.add_argument("--tokenizer", type=Path, required=True, help="with a chat template")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "length.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="length-") as folder:
        timings = [
            measure(kind, arguments, Path(folder)) for kind in ("cycling-copilot", "route-plan")
        ]
    print(f"{os.cpu_count()} cores, {arguments.tokenizer.name}, best of {arguments.runs}")
    print(f"{'rows':<16} {'count':>7} {'tokens':>11} {'peer s':>8} {'counter':>8} {'check':>8}")
    for one in timings:
        print(
            f"{one.rows:<16} {one.count:>7,} {one.tokens:>11,} {one.encode_batch_fast_s:>8.2f} "
            f"{one.counter_ratio:>7.2f}x {one.check_ratio:>7.2f}x"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = [
        asdict(one) | {"counter_ratio": one.counter_ratio, "check_ratio": one.check_ratio}
        for one in timings
    ]
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(kind: str, arguments: argparse.Namespace, folder: Path) -> Timing:
    """All three on the same rows."""
    write = _cycling_copilot if kind == "cycling-copilot" else _route_plan
    once, twice = (
        write(arguments.data, folder, copies) for copies in (arguments.copies, 2 * arguments.copies)
    )
    rules = _rules(kind, arguments.data, arguments.tokenizer)
    examples = _examples(once, rules)
    tokenizer, template = load_tokenizer(arguments.tokenizer), find_template(rules.tokens)
    texts = [render_example(example, template).whole for example in examples]
    tokens = sum(map(len, tokenizer.encode(texts)))

    def count() -> None:
        counter = ExactCounter(tokenizer, "m", template)
        for start in range(0, len(examples), 256):
            counter.count(examples[start : start + 256])

    def check(file: Path) -> Callable[[], None]:
        def run() -> None:
            check_files([RowsFile(file, file.name)], rules, {"length"})

        return run

    peer, ours, short, long = _best(
        (lambda: tokenizer.encode(texts), count, check(once), check(twice)), arguments.runs
    )
    assert long > short, "the machine is too busy to measure: more rows took less time"
    return Timing(kind, len(examples), tokens, peer, ours, long - short)


def _best(tasks: Sequence[Callable[[], object]], runs: int) -> list[float]:
    least = [float("inf")] * len(tasks)
    for _ in range(runs):
        for index, task in enumerate(tasks):
            start = time.perf_counter()
            task()
            least[index] = min(least[index], time.perf_counter() - start)
    return least


def _rules(kind: str, data: Path, tokenizer: Path) -> Rules:
    rules = Rules(
        data=DataBlock(format="prompt-completion"),
        spec_folder=Path(),
        tools=(),
        tokens=TokenRules("the model", tokenizer, None, "", 0.25, ""),
        service="hf-jobs",
        max_length=100_000,
        max_length_source="the benchmark",
        too_long="error",
        export=None,
        seed=1,
    )
    if kind == "route-plan":
        return rules
    tools = load_tools(data / kind / "tools.json", "tools.json")
    return replace(rules, data=DataBlock(format="tool-calls"), tools=tools)


def _examples(file: Path, rules: Rules) -> list[Example]:
    converter = Converter(rules)
    examples = []
    for row in read_rows(RowsFile(file, file.name)):
        assert not isinstance(row, Finding), row
        example = converter.convert(file.name, row, None)
        assert not isinstance(example, Finding), example
        examples.append(example)
    return examples


def _cycling_copilot(data: Path, folder: Path, copies: int) -> Path:
    with (data / "cycling-copilot" / "rows.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    target = folder / f"cycling-copilot-{copies}.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for copy in range(copies):
            writer.writerows([f"{question} ({copy})", calls] for question, calls in rows)
    return target


def _route_plan(data: Path, folder: Path, copies: int) -> Path:
    lines = (data / "route-plan" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    target = folder / f"route-plan-{copies}.jsonl"
    with target.open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for line in lines:
                row = json.loads(line)
                text = row["prompt"], row["completion"]
                prompt, completion = (f"{one[:60]} {copy} {one[60:]}" for one in text)
                file.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
    return target


if __name__ == "__main__":
    main()
