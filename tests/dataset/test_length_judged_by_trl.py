"""The counts of the check of lengths against what TRL itself makes of the same rows.

TRL prepares in a process of its own: importing torch takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.length import LengthCheck
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.output import service_row
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.counting import make_counter
from tests.dataset.length_rows import call_example, chat_example, text_example
from tests.dataset.test_length_check import rules_of
from tests.dataset.tiny_tokenizer import make_tokenizer

#: Prepares each set of rows as a training by TRL would, and tells what is left of every row.
TRL = """
import json, sys
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer
plan = json.load(open(sys.argv[1]))
tokenizer = AutoTokenizer.from_pretrained(plan["tokenizer"])
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=8192))
found = {}
for name, one in plan["sets"].items():
    # Tools as a text: a column of Arrow would give every object the keys of all the others.
    rows = [{"line": line, **row} for line, row in one["rows"]]
    config = SFTConfig(
        output_dir=plan["output"], max_length=one["max_length"], bf16=False, use_cpu=True,
        gradient_checkpointing=False, completion_only_loss=True, report_to="none",
        shuffle_dataset=False, disable_tqdm=True)
    trainer = SFTTrainer(model=model, args=config, processing_class=tokenizer,
                         train_dataset=Dataset.from_list(rows))
    found[name] = [
        [row["line"], len(row["input_ids"]), sum(label != -100 for label in row["labels"])]
        for row in trainer.train_dataset]
json.dump(found, open(plan["found"], "w"))
"""

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = tuple(
    Tool(name, CITY, {"type": "function", "function": {"name": name, "parameters": CITY}})
    for name in ("get_weather", "get_time")
)
SYSTEM = Message("system", "You answer in one sentence.")


def _texts() -> list[Example]:
    """Pairs of texts; of some, a token reaches over the end of the prompt."""
    pairs = [("ride " * n, "weather " * m) for n, m in ((1, 1), (9, 1), (40, 2), (60, 1), (3, 70))]
    pairs += [
        ("What is the wea", "ther?"),
        ("Go", " on"),
        ("line\n", "\n\nnext"),
        ("naïve 🚴", "é"),
    ]
    pairs += [("ends", "here<|im_end|>")]
    return [text_example(line, *pair) for line, pair in enumerate(pairs, start=1)]


def _chats() -> list[Example]:
    sizes = ((1, 1), (9, 1), (40, 2), (60, 1), (3, 70), (20, 20), (0, 5))
    chats = [
        chat_example(line, "ride " * n, "weather " * m)
        for line, (n, m) in enumerate(sizes, start=1)
    ]
    long = (SYSTEM, Message("user", "How far?"), Message("assistant", "Far."), Message("user", "?"))
    return [*chats, replace(chats[0], line=len(chats) + 1, prompt=long)]


def _calls() -> list[Example]:
    cities = ("Zurich", "Paris } {", "q" * 120, "", 'a "b" \\n')
    asked = [
        call_example(line, "ride " * line * 6, [("get_weather", {"city": city})], TOOLS)
        for line, city in enumerate(cities, start=1)
    ]
    two = call_example(6, "Both?", [(tool.name, {"city": "Bern"}) for tool in TOOLS], TOOLS)
    turns = (
        *two.prompt,
        Message("assistant", calls=(Call("get_weather", {"city": "Bern"}),)),
        Message("tool", "rain", name="get_weather"),
    )
    assert all(isinstance(turn, Message) for turn in turns)
    return [*asked, two, replace(two, line=7, prompt=turns)]


ROWS = {"texts": _texts(), "chats": _chats(), "calls": _calls()}


@dataclass(frozen=True)
class Judged:
    """A limit for each set of rows, and the lines, tokens and trained tokens that TRL leaves."""

    tokenizer: Path
    left: dict[str, dict[int, tuple[int, int]]]


def _limits(counts: list[TokenCount]) -> list[int]:
    """Limits at which some rows just fit, some just do not, some lose a bit and others all."""
    total = sorted(count.total for count in counts)
    prompt = sorted(count.prompt for count in counts)
    middle = total[len(total) // 2]
    return sorted({total[-1], total[-1] - 1, total[-1] - 3, prompt[-1], prompt[-1] + 1, middle})


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    pytest.importorskip("trl", reason="the sandbox extra is not installed")
    folder = tmp_path_factory.mktemp("trl")
    tokenizer = make_tokenizer(folder / "tokenizer")
    counter = make_counter(rules_of(tokenizer).tokens)
    sets: dict[str, Any] = {}
    for name, rows in ROWS.items():
        lines = [(row.line, _trl_row(row)) for row in rows]
        for limit in _limits(counter.count(rows)):
            sets[f"{name} {limit}"] = {"max_length": limit, "rows": lines}
    plan = {
        "tokenizer": str(tokenizer),
        "output": str(folder / "output"),
        "found": str(folder / "found.json"),
        "sets": sets,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (folder / "judge.py").write_text(TRL, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(folder / "judge.py"), str(folder / "plan.json")],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HOME": str(folder / "hf")}
        | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    left = {
        name: {line: (tokens, trained) for line, tokens, trained in rows}
        for name, rows in found.items()
    }
    return Judged(tokenizer, left)


def _trl_row(example: Example) -> dict[str, Any]:
    row = service_row(example, "hf-jobs")
    return row | ({"tools": json.dumps(row["tools"])} if "tools" in row else {})


@pytest.mark.training
@pytest.mark.parametrize("name", list(ROWS))
def test_trl_drops_cuts_and_trains_the_tokens_that_were_counted(judged: Judged, name: str) -> None:
    rows = ROWS[name]
    counts = dict(
        zip(
            (row.line for row in rows),
            make_counter(rules_of(judged.tokenizer).tokens).count(rows),
            strict=True,
        )
    )
    sets = [(int(key.split()[1]), left) for key, left in judged.left.items() if name in key]
    assert len(sets) > 5
    seen: set[str] = set()
    for limit, left in sets:
        kept = {line: count for line, count in counts.items() if count.prompt < limit}
        assert left == {
            line: (min(count.total, limit), min(count.total, limit) - count.prompt)
            for line, count in kept.items()
        }
        check = LengthCheck(rules_of(judged.tokenizer, limit))
        assert not list(check.examine(rows))
        groups = {group.code: group.count for group in check.conclude()}
        assert groups.get("answer-lost", 0) == len(rows) - len(left)
        cut = sum(count.total > limit for count in kept.values())
        assert groups.get("answer-cut", 0) + groups.get("end-of-turn-cut", 0) == cut
        seen |= groups.keys()
    assert seen >= {"answer-lost", "answer-cut", "end-of-turn-cut"}
