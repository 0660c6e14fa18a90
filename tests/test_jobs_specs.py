"""Every shipped spec loads, checks and prepares; its comments say what the spec says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.catalog import load_catalog
from orchestrator.cli import run
from orchestrator.data_files import data_folder
from orchestrator.dataset.tools import load_tools
from orchestrator.shipped import shipped_names
from orchestrator.spec import JobSpec, load_spec
from tests.dataset.rules_of import needs_data, outside

FILES = shipped_names()
NAMES = list(FILES)
RECIPES = {
    "functiongemma/support-router": {
        "mode": "full",
        "epochs": 15,
        "learning_rate": 1e-5,
        "batch_size": 4,
        "gradient_accumulation": 3,
        "weight_decay": 0.02,
        "warmup_ratio": 0.05,
        "scheduler": "cosine",
    },
    "functiongemma/cycling-copilot": {
        "mode": "peft",
        "rank": 16,
        "alpha": 32,
        "targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
        "epochs": 3,
        "learning_rate": 2e-4,
        "batch_size": 1,
        "gradient_accumulation": 8,
        "max_length": 1280,
    },
    "functiongemma/mobile-actions": {
        "mode": "peft",
        "quantization": "4bit",
        "rank": 16,
        "alpha": 32,
        "dropout": 0.05,
        "targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
        "epochs": 3,
        "learning_rate": 1e-5,
        "batch_size": 1,
        "gradient_accumulation": 8,
        "weight_decay": 0.01,
        "warmup_ratio": 0.1,
        "scheduler": "cosine",
        "precision": "fp32",
        "max_length": 2048,
    },
    "code/llama-3.1-8b": {
        "mode": "peft",
        "quantization": "4bit",
        "rank": 16,
        "alpha": 32,
        "dropout": 0.05,
        "targets": (
            *("q_proj", "k_proj", "v_proj", "o_proj"),
            *("gate_proj", "up_proj", "down_proj"),
        ),
        "epochs": 1,
        "learning_rate": 2e-4,
        "batch_size": 4,
        "gradient_accumulation": 4,
        "optimizer": "paged_adamw_8bit",
        "precision": "bf16",
        "max_length": 2048,
    },
    "router/llama-3.1-8b": {"mode": "peft", "rank": 16, "epochs": 3},
    "router/gemma-3-27b": {"mode": "peft", "rank": 16, "epochs": 3},
    "router/qwen3-32b": {"mode": "peft", "rank": 16, "epochs": 3},
    "math/qwen3-32b": {"mode": "peft", "rank": 16, "epochs": 3},
    "math/gemma-3-27b": {"mode": "peft", "rank": 16, "epochs": 3},
    "math/llama-4-scout": {"mode": "peft", "rank": 16, "epochs": 3},
}
#: What a comment may claim, and the fields that it claims it of. "with" and "at max_length" tell
#: what went wrong elsewhere.
CLAIMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\b(\d+) epochs?\b", ("epochs",)),
    (r"learning rate (\d[\d.e-]*\d)", ("learning_rate",)),
    (r"\b[Rr]ank (?:of )?(\d+)", ("rank",)),
    (r"\balpha (\d+)", ("alpha",)),
    (r"\bdropout (\d[\d.]*\d)", ("dropout",)),
    (r"\bweight decay (\d[\d.]*\d)", ("weight_decay",)),
    (r"\bwarm-up (\d[\d.]*\d)", ("warmup_ratio",)),
    (r"\bbatches of (\d+) rows? times (\d+)", ("batch_size", "gradient_accumulation")),
    (r"(?<!with )(?<!at )max_length (\d+)", ("max_length",)),
)


def spec_of(name: str) -> JobSpec:
    return load_spec(FILES[name]).spec


def header(name: str) -> str:
    """The comment at the head of a spec, as one line."""
    lines = FILES[name].read_text(encoding="utf-8").split("\nversion:")[0].splitlines()[1:]
    return " ".join(line.lstrip("#").strip() for line in lines)


def instead(name: str) -> dict[str, Any]:
    """The lines of the `data` block that the head offers for the whole set of rows."""
    text = FILES[name].read_text(encoding="utf-8").split("\nversion:")[0]
    lines = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    found = yaml.safe_load("\n".join(lines))
    return found if isinstance(found, dict) else {}


def shell(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code = run([str(argument) for argument in arguments])
    return code, json.loads(capsys.readouterr().out)


def errors_and_warnings(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(found["level"], found["code"]) for found in document["findings"]}


# -------------------------------------------------------------------------------- every spec


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_shipped_spec_pass_its_check(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = shell(capsys, "check", FILES[name], "--offline", "--json")
    assert code == 0
    assert not [found for found in document["findings"] if found["level"] == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_shipped_spec_are_prepared(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = spec_of(name)
    code, found = shell(capsys, "prepare", FILES[name], "--out", tmp_path / "out", "--json")
    assert code == 0
    rows = {split["name"]: split["rows"] for split in found["splits"]}
    for split in filter(rows.get, rows):
        text = (tmp_path / "out" / f"{split}.jsonl").read_text(encoding="utf-8")
        assert text.count("\n") == rows[split]
    share = rows["validation"] / sum(rows.values())
    assert share == pytest.approx(spec.data.split.validation, abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_spec_tunes_a_model_of_its_service(name: str) -> None:
    spec = spec_of(name)
    model = load_catalog().find(spec.base_model)
    assert model is not None
    assert model.service == spec.service.name
    assert spec.tuning.mode in model.modes
    if spec.tuning.rank is not None:
        assert spec.tuning.rank in model.ranks
    if spec.service.name == "hf-jobs":
        assert spec.service.flavor in {flavor.name for flavor in load_catalog().jobs.flavors}
        assert spec.service.timeout is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_comment_tells_the_true_number_of_rows(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    data = spec_of(name).data.path
    assert data is not None
    lines = (FILES[name].parent / data).read_bytes().splitlines()
    rows = len(lines) - (1 if data.endswith(".csv") else 0)
    claimed = re.findall(r"# (?:about )?(\d+) rows, written for this project", text)
    assert all(int(number) == rows for number in claimed)
    assert claimed or name == "functiongemma/support-router"


# ------------------------------------------------------------------------------- the recipes


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_tuned_as_was_published(name: str) -> None:
    tuning = spec_of(name).tuning
    assert {field: getattr(tuning, field) for field in RECIPES[name]} == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_where_its_figures_come_from(name: str) -> None:
    text = header(name)
    assert re.search(r"As published, not run here[:,]", text)
    assert "Source: " in text


def wrong_claims(text: str, spec: JobSpec) -> Sequence[str]:
    """What a comment claims of fields that hold something else."""
    wrong = []
    for pattern, fields in CLAIMS:
        for found in re.finditer(pattern, text):
            values = [getattr(spec.tuning, field) for field in fields]
            if [float(number) for number in found.groups()] != values:
                wrong.append(found[0])
    return wrong


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_in_the_comment_is_that_of_the_spec(name: str) -> None:
    text = header(name)
    assert wrong_claims(text, spec_of(name)) == []
    claimed = {field for pattern, fields in CLAIMS if re.search(pattern, text) for field in fields}
    numbers = {field for _, fields in CLAIMS for field in fields}
    published = {field for field in RECIPES[name] if field in numbers}
    assert published <= claimed


def test_a_wrong_number_in_a_comment_is_found() -> None:
    name = "functiongemma/support-router"
    for right, wrong in (("15 epochs", "14 epochs"), ("1e-5", "2e-5"), ("times 3", "times 4")):
        assert right in header(name)
        assert len(wrong_claims(header(name).replace(right, wrong, 1), spec_of(name))) == 1


WHOLE = ["functiongemma/mobile-actions", "code/llama-3.1-8b"] + [n for n in RECIPES if "math" in n]


@pytest.mark.parametrize("name", WHOLE)
def test_the_lines_for_the_whole_set_are_a_spec_of_the_published_size(
    name: str, tmp_path: Path
) -> None:
    lines = instead(name)
    assert set(lines) == {"path", "subset", "split"}
    train, validation = lines["split"]["train"], lines["split"]["validation"]
    assert train + validation == lines["subset"]["rows"]
    assert spec_of(name).data.split.train == pytest.approx(train / (train + validation))
    whole = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    whole["data"] |= lines
    file = tmp_path / "whole.yaml"
    file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    assert load_spec(file).spec.data.split.counts
    numbers = {int(n) for n in re.findall(r"\b\d{3,5}\b", header(name).partition("Source:")[0])}
    if name != "code/llama-3.1-8b":
        assert {train, validation} <= numbers
    else:
        assert lines["subset"]["rows"] in numbers
        assert lines["subset"]["by"] == "head"
    revision = re.search(r"@(\w+)/", lines["path"])
    assert revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}|COMMIT", revision[1])


# ---------------------------------------------------------------------- the recipes' own traps


def test_the_lengths_of_the_cycling_export_are_those_that_the_comment_counts_with() -> None:
    export = spec_of("functiongemma/cycling-copilot").export
    assert export is not None
    assert (export.format, export.kv_cache, export.prefill) == ("litertlm", 1024, 256)
    text = FILES["functiongemma/cycling-copilot"].read_text(encoding="utf-8")
    prompt, left = re.search(r"takes (\d+) tokens.*?(\d+) are left", text, re.DOTALL).groups()  # type: ignore[union-attr]  # fails if it does not match
    assert int(prompt) + int(left) == export.kv_cache


def long_tools(folder: Path, words: int) -> Path:
    """The six tools of the riders, with so many words more in the first description."""
    tools = json.loads(
        (data_folder("jobs") / "functiongemma/cycling-copilot.tools.json").read_text()
    )
    tools[0]["function"]["description"] += " and more" * (words // 2)
    file = folder / "tools.json"
    file.write_text(json.dumps(tools))
    assert load_tools(file, "tools.json")
    return file


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (0, 0, set()),
        (370, 0, {("warning", "kv-cache-perhaps-too-small")}),
        (1300, 1, {("error", "kv-cache-too-small")}),
    ],
)
def test_the_check_questions_the_cache_of_the_cycling_export(
    words: int,
    code: int,
    expected: set[tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tools = long_tools(tmp_path, words)
    spec = FILES["functiongemma/cycling-copilot"]
    found, document = shell(
        capsys, *("check", spec, "--tools", tools, "--only", "length", "--offline", "--json")
    )
    assert found == code
    kinds = errors_and_warnings(document)
    assert {kind for kind in kinds if "cache" in kind[1]} == expected
    assert ("note", "prefill-in-steps") in kinds


@needs_data
def test_the_check_questions_the_published_cycling_export(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = outside("cycling-copilot")
    arguments = ("--data", folder / "rows.csv", "--tools", folder / "tools.json")
    code, document = shell(
        capsys,
        *("check", FILES["functiongemma/cycling-copilot"], *arguments),
        *("--only", "length", "--offline", "--json"),
    )
    assert code == 0
    kinds = errors_and_warnings(document)
    assert {("warning", "kv-cache-perhaps-too-small"), ("note", "prefill-in-steps")} <= kinds


@needs_data
def test_the_published_rows_of_the_support_router_make_92_and_23(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = outside("support-router")
    code, found = shell(
        capsys,
        *("prepare", FILES["functiongemma/support-router"], "--data", folder / "rows.jsonl"),
        *("--tools", folder / "tools.json", "--out", tmp_path / "out", "--json"),
    )
    assert code == 0
    rows = {split["name"]: split["rows"] for split in found["splits"]}
    assert (rows["train"], rows["validation"]) == (92, 23)
    assert "115 rows, of which the shares below make 92 and 23" in header(
        "functiongemma/support-router"
    )
