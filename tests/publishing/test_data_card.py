"""The card of a dataset: read by other people's tools, run by a test, and silent on rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from orchestrator.digests import sha256_file
from orchestrator.report.data_card import _format, size_category
from tests.publishing.data_command import publish, read
from tests.router_spec import ROUTER, SAMPLE, SPEC
from tests.stores.hub_stage import HubStage


def test_the_card_says_what_they_are_and_its_metadata_is_what_the_client_reads(
    stage: HubStage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = publish(capsys, ROUTER, "--license", "cc-by-4.0", "--limit", 30)
    text = read(stage, "README.md", tmp_path).decode()
    data = DatasetCard(text).data
    assert isinstance(data, DatasetCardData)
    told: dict[str, Any] = yaml.safe_load(data.to_yaml())
    assert told["license"] == "cc-by-4.0"
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [
        {"split": split, "path": f"data/{split}.jsonl"} for split in ("train", "validation", "test")
    ]
    for digest in done["files"]:
        if digest.startswith("data/"):
            assert f"`{done['files'][digest]}`" in text
    assert "shares: train 0.85, validation 0.1, test 0.05" in text
    assert "seed 42" in text
    assert "| left out | 10 beyond the limit |" in text
    assert "| duplicates | none |" in text
    assert "the first 30 of the seeded shuffle" in text
    assert sha256_file(SAMPLE) in text
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    assert not any(row["prompt"][:40] in text for row in rows)
    publish(capsys, ROUTER)
    assert "license" not in read(stage, "README.md", tmp_path).decode()


def test_no_place_of_this_machine_is_in_what_is_published(
    stage: HubStage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "secret_place"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(SAMPLE.read_bytes())
    (folder / "spec.yaml").write_text(SPEC)
    publish(capsys, folder / "spec.yaml", "--data", folder / "rows.jsonl")
    for path in ("README.md", "summary.json"):
        assert b"secret_place" not in read(stage, path, tmp_path)


@pytest.mark.parametrize(
    ("name", "told"), [("tool-calls", "`tool-calls`"), ("./a_b.py", "its own")]
)
def test_a_format_of_the_users_own_is_not_told_by_its_file(name: str, told: str) -> None:
    assert told in _format(name)
    assert "a_b" not in _format(name)


@pytest.mark.parametrize(
    ("rows", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**8, "100M<n<1B"), (10**9, "1B<n<10B")],
)
def test_sizes_are_named_as_the_hub_does(rows: int, name: str) -> None:
    assert size_category(rows) == name


@pytest.mark.parametrize(
    "spec",
    [
        "functiongemma/support-router",
        pytest.param(ROUTER, marks=pytest.mark.slow),
        pytest.param("functiongemma/cycling-copilot", marks=pytest.mark.slow),
        pytest.param("math/gemma-3-27b", marks=pytest.mark.slow),
    ],
)
def test_the_lines_of_the_card_load_it_with_the_datasets_library(
    stage: HubStage, capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: Path | str
) -> None:
    pytest.importorskip("datasets", reason="the sandbox extra is not installed")
    publish(capsys, spec)
    summary = orjson.loads(read(stage, "summary.json", tmp_path))
    text = read(stage, "README.md", tmp_path).decode()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    show = "import json\nprint(json.dumps({name: one.num_rows for name, one in rows.items()}))"
    show += "\nprint(json.dumps([rows['train'].column_names, rows['train'][0]], default=str))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code[1]}\n{show}"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": stage.url,
            "HF_TOKEN": "hf_alice",
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    counts, (columns, first) = map(json.loads, done.stdout.splitlines()[-2:])
    assert counts == {one["name"]: one["rows"] for one in summary["splits"] if one["rows"]}
    lines = read(stage, "data/train.jsonl", tmp_path).splitlines()
    assert set(columns) == set(orjson.loads(lines[0]))
    assert first == orjson.loads(lines[0])
