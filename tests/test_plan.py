"""A plan is the same everywhere, and changes with everything that decides what is trained."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import orjson
import pytest
from pydantic import BaseModel

import orchestrator.catalog
from orchestrator.catalog import load_catalog
from orchestrator.plan import Plan, plan_digest
from orchestrator.spec import EvaluationBlock, JobSpec
from tests.router_spec import ROUTER, SAMPLE, SPEC, changed, plan

#: For each field that a spec may change: text of the router spec, and what to put in its place.
CHANGES = {
    "name": ("name: router-llama-3.1-8b", "name: other"),
    "base_model": ("meta/llama3_1@llama-3.1-8b-instruct", "qwen/qwen3@qwen3-32b"),
    "service.location": ("us-central1", "europe-west4"),
    "seed": ("seed: 42", "seed: 43"),
    "data.answer": ("answer: route-plan", "answer: text"),
    "data.split.train": ("train: 0.85, validation: 0.10", "train: 0.84, validation: 0.11"),
    "data.split.validation": ("validation: 0.10, test: 0.05", "validation: 0.11, test: 0.04"),
    "data.split.test": ("train: 0.85, validation: 0.10, test: 0.05", "train: 0.9, test: 0.0"),
    "tuning.mode": ("mode: peft\n  rank: 16", "mode: full"),
    "tuning.rank": ("rank: 16", "rank: 8"),
    "tuning.epochs": ("epochs: 3", "epochs: 4"),
    "tuning.learning_rate_multiplier": ("multiplier: 0.7", "multiplier: 0.71"),
    "tuning.learning_rate": ("learning_rate_multiplier: 0.7", "learning_rate: 0.00014"),
    "max_attempts": ("seed: 42", "seed: 42\nmax_attempts: 2"),
    "on_uncertain": ("seed: 42", "seed: 42\non_uncertain: relaunch"),
    "publish.repo": ("repo: router", "repo: other"),
    "publish.private": ("private: true", "private: false"),
    "publish.tags": ("[router, function-calling]", "[router]"),
    "stand_in.learning_rate": ("  learning_rate: 0.005", "  learning_rate: 0.006"),
    "stand_in.epochs": ("  learning_rate: 0.005", "  learning_rate: 0.005\n  epochs: 1"),
    "stand_in.max_length": ("  learning_rate: 0.005", "  learning_rate: 0.005\n  max_length: 64"),
    "stand_in.batch_size": ("  learning_rate: 0.005", "  learning_rate: 0.005\n  batch_size: 2"),
}
#: Fields that the router spec cannot change alone, and another value for each.
OTHER_VALUES: dict[str, Any] = {
    "service.name": "hf-jobs",
    "data.format": "chat",
    "data.mapping.columns": {"prompt": "question"},
    "data.mapping.system": "Be brief.",
    "data.mapping.developer": "Be brief.",
    "data.mapping.template": "{prompt}!",
    "data.mapping.think": "thinking",
    "data.subset": {"rows": 10},
    "data.split.stratify_by": "difficulty",
    "data.near_duplicates": 0.9,
    "data.redact": True,
    "tokenizer": "./tokenizer",
    "chat_template": "chat.jinja",
    "tuning.max_length": 512,
    "tuning.too_long": "drop",
    "export": {"format": "gguf"},
    "service.flavor": "t4-small",
    "service.timeout": "4h",
    "service.image": "example/image:1",
    "service.secrets": ["WANDB_API_KEY"],
    "tuning.quantization": "4bit",
    "tuning.alpha": 7,
    "tuning.dropout": 0.05,
    "tuning.targets": ["q_proj"],
    "tuning.last_layers": 2,
    "tuning.weight_decay": 0.01,
    "tuning.warmup_ratio": 0.1,
    "tuning.scheduler": "linear",
    "tuning.optimizer": "adafactor",
    "tuning.batch_size": 2,
    "tuning.gradient_accumulation": 2,
    "tuning.max_grad_norm": 0.5,
    "tuning.packing": True,
    "tuning.group_by_length": True,
    "tuning.precision": "fp32",
    "tuning.save_steps": 10,
    "tuning.plateau": {"patience": 2, "min_delta": 0.1},
    "tuning.format_drift": {"probes": 2, "max_unparsed": 0.1},
    "tuning.tracking": "trackio",
    "stand_in.mode": "full",
    "stand_in.rank": 4,
    "stand_in.last_layers": 1,
    "stand_in.rows": 10,
    "stand_in.short_prompt": "Be brief.",
}
#: How the result is judged, and where it is shown: no part of the digest, for it trains nothing.
JUDGED = {"gates", "publish.collection"} | {
    f"evaluation.{name}" for name in EvaluationBlock.model_fields
}
#: Fields with only one value so far; and the places of the data and who pays, which are no part of
#: the plan.
FIXED = {"version", "data.path", "data.tools", "service.namespace"} | {
    f"data.split.files.{name}" for name in ("train", "validation", "test")
}
#: Blocks that are changed as a whole.
AS_A_WHOLE = {"data.subset", "export", "tuning.plateau", "tuning.format_drift"}
BLOCKS = ("data.subset.", "export.", "tuning.plateau.", "tuning.format_drift.")


def field_paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The dotted names of all fields, down to the innermost."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if inner:
            yield from field_paths(inner[0], f"{before}{name}.")
        else:
            yield before + name


def test_the_sample_spec_plans_cleanly(tmp_path: Path) -> None:
    prepared = plan(tmp_path)
    assert prepared.plan.refusals == ()
    assert prepared.plan.warnings == ()
    assert [split.rows for split in prepared.plan.splits] == [34, 4, 2]
    assert prepared.plan.data.rows == 40


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_makes_the_same_plan(tmp_path: Path, hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "plan", str(ROUTER), "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    shipped = ROUTER.read_text(encoding="utf-8")
    assert json.loads(done.stdout) == plan(tmp_path, spec=shipped).plan.to_json()


def test_a_plan_survives_being_stored(tmp_path: Path) -> None:
    made = plan(tmp_path, limit=20).plan
    again = Plan.from_json(json.loads(orjson.dumps(made.to_json())))
    assert again == made
    assert plan_digest(again) == again.digest == made.digest


def test_moving_the_data_does_not_change_the_digest(tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(SAMPLE.read_bytes())
    spec = changed("path: sample.jsonl", "path: elsewhere/renamed.jsonl")
    assert plan(tmp_path, spec=spec, data=moved).plan.digest == plan(tmp_path).plan.digest


def test_comments_blank_lines_and_the_order_of_keys_do_not_change_the_digest(
    tmp_path: Path,
) -> None:
    body = SPEC.replace("seed: 42\n", "\n# seed below\n\n")
    assert (
        plan(tmp_path, spec=f"seed: 0x2a  # 42\n{body}").plan.digest == plan(tmp_path).plan.digest
    )


def test_the_digest_of_the_data_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = SAMPLE.read_bytes()
    facts = plan(tmp_path).plan.data
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.size_bytes == len(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_rows_that_come_through_a_pipe_are_read_once_and_digested(tmp_path: Path) -> None:
    """Nothing can be read twice from a pipe, as in `--data <(zcat rows.jsonl.gz)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(SAMPLE.read_bytes(),), daemon=True)
    writer.start()
    assert plan(tmp_path, data=pipe).plan.digest == plan(tmp_path).plan.digest
    writer.join(timeout=10)


def test_every_field_of_a_spec_is_tried() -> None:
    paths = {path for path in field_paths(JobSpec) if not path.startswith(BLOCKS)}
    assert set(CHANGES) | FIXED | JUDGED | set(OTHER_VALUES) - AS_A_WHOLE == paths


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_a_field_that_cannot_change_alone_is_in_the_digest_too(tmp_path: Path, field: str) -> None:
    made = plan(tmp_path).plan
    value = made.to_json()
    block = value["spec"]
    *outer, last = field.split(".")
    for name in outer:
        block = block[name]
    assert block[last] != OTHER_VALUES[field]
    block[last] = OTHER_VALUES[field]
    assert plan_digest(Plan.from_json(value)) != made.digest


def test_files_for_splits_are_in_the_digest_but_not_where_they_are(tmp_path: Path) -> None:
    made = plan(tmp_path).plan
    digests = []
    for files in (None, {"train": "a.jsonl"}, {"train": "b/c.jsonl"}):
        value = made.to_json()
        value["spec"]["data"]["split"] = {"files": files} if files else {}
        digests.append(plan_digest(Plan.from_json(value)))
    assert digests[0] != digests[1] == digests[2]


def test_the_tools_are_in_the_digest_but_not_where_they_are(tmp_path: Path) -> None:
    spec = changed("format: prompt-completion", "format: prompt-completion\n  tools: FILE")
    spec = spec.replace("path: sample.jsonl", f"path: {SAMPLE}")
    digests = [plan(tmp_path, spec=spec.replace("  tools: FILE\n", "")).plan.digest]
    for name, says in (("a.json", "Add."), ("b.json", "Add."), ("a.json", "Sum up.")):
        function = {"name": "add", "description": says, "parameters": {"type": "object"}}
        tools = [{"type": "function", "function": function}]
        (tmp_path / name).write_bytes(orjson.dumps(tools))
        digests.append(plan(tmp_path, spec=spec.replace("FILE", name)).plan.digest)
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_how_the_result_is_judged_does_not_change_the_digest(tmp_path: Path) -> None:
    """Other gates must not have the same thing trained, and paid for, again."""
    before = plan(tmp_path).plan
    after = plan(tmp_path, spec=ROUTER.read_text(encoding="utf-8")).plan
    assert (before.gates, before.evaluation) == ((), None)
    assert after.gates
    assert after.evaluation is not None
    assert after.digest == before.digest


@pytest.mark.parametrize("told", ["estimate", "warnings", "refusals", "errors"])
def test_what_is_only_told_of_a_plan_does_not_change_its_digest(tmp_path: Path, told: str) -> None:
    """Where the tokenizer is, tokens are counted; elsewhere they are estimated."""
    made = plan(tmp_path).plan
    value = made.to_json()
    other = {**value["estimate"], "tokens": 1, "exact": True} if told == "estimate" else ["other"]
    value[told] = other
    assert plan_digest(Plan.from_json(value)) == made.digest
    assert Plan.from_json(value) != made


def test_a_plan_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    value = plan(tmp_path).plan.to_json()
    del value["errors"], value["estimate"]["exact"]
    del value["data"]["left_out"], value["data"]["kept_together"]
    for name in ("near_duplicates", "redact", "mapping", "subset", "tools"):
        del value["spec"]["data"][name]
    assert Plan.from_json(value).split("train").rows == 34


@pytest.mark.parametrize("field", CHANGES)
def test_changing_a_field_of_the_spec_changes_the_digest(tmp_path: Path, field: str) -> None:
    before = plan(tmp_path).plan
    after = plan(tmp_path, spec=changed(*CHANGES[field])).plan
    value_before: Any = before.spec
    value_after: Any = after.spec
    for name in field.split("."):
        value_before, value_after = getattr(value_before, name), getattr(value_after, name)
    assert value_before != value_after
    assert before.digest != after.digest


@pytest.mark.parametrize("number", [0, 17, 39])
@pytest.mark.parametrize("change", ["edit", "drop", "repeat", "other field"])
def test_changing_one_row_changes_the_digest(tmp_path: Path, number: int, change: str) -> None:
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    row = orjson.loads(lines[number])
    match change:
        case "edit":
            row["prompt"] += "!"
            lines[number] = orjson.dumps(row) + b"\n"
        case "drop":
            del lines[number]
        case "repeat":
            lines.insert(number, lines[number])
        case _:
            lines[number] = orjson.dumps({**row, "source": "x"}) + b"\n"
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b"".join(lines))
    assert plan(tmp_path, data=data).plan.digest != plan(tmp_path).plan.digest


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        ("max_validation_rows = 5000", "max_validation_rows = 5001"),
        ("max_validation_bytes_ratio = 0.25", "max_validation_bytes_ratio = 0.26"),
        ('licence = "llama3.1"', 'licence = "other"'),
        ("max_row_tokens = 8192", "max_row_tokens = 8193"),
        ("baseline_learning_rate = 2e-4", "baseline_learning_rate = 3e-4"),
        ("usd_per_million_tokens = 0.67", "usd_per_million_tokens = 0.68"),
        ("tokens_per_character = 0.317", "tokens_per_character = 0.318"),
        ("ranks = [1, 4, 8, 16, 32]", "ranks = [1, 4, 8, 16]"),
        ("layers = 32", "layers = 33"),
        ('hub_id = "meta-llama/Llama-3.1-8B-Instruct"', 'hub_id = "meta-llama/Other"'),
        ("checked = 2026-11-21\n\n[models.", "checked = 2026-11-22\n\n[models."),
    ],
)
def test_changing_a_catalog_entry_that_is_used_changes_the_digest(
    tmp_path: Path, found: str, replacement: str
) -> None:
    own = Path(orchestrator.catalog.__file__).with_name("catalog.toml").read_text("utf-8")
    assert found in own
    file = tmp_path / "catalog.toml"
    file.write_text(own.replace(found, replacement, 1), encoding="utf-8")
    before, after = plan(tmp_path), plan(tmp_path, catalog=load_catalog(file))
    assert after.plan.digest != before.plan.digest


def test_changing_the_entry_of_another_model_does_not_change_the_digest(tmp_path: Path) -> None:
    own = Path(orchestrator.catalog.__file__).with_name("catalog.toml").read_text("utf-8")
    file = tmp_path / "catalog.toml"
    file.write_text(own.replace("= 6.57", "= 6.58", 1), encoding="utf-8")
    other = load_catalog(file)
    assert other != load_catalog()
    assert plan(tmp_path, catalog=other).plan.digest == plan(tmp_path).plan.digest


def test_another_limit_is_another_plan(tmp_path: Path) -> None:
    digests = {plan(tmp_path, limit=limit).plan.digest for limit in (None, 10, 20, 39)}
    assert len(digests) == 4


def test_a_limit_that_takes_every_row_is_no_other_plan(tmp_path: Path) -> None:
    digests = {plan(tmp_path, limit=limit).plan.digest for limit in (None, 40, 100_000)}
    assert len(digests) == 1
