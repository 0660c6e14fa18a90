"""The Hub face, judged by the datasets library: pushed, loaded, loaded at a revision."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.sandbox.hub.process import run
from tests.sandbox.hub.stage import Stage, put

pytest.importorskip("datasets", reason="the sandbox extra is not installed")

PUSH_AND_LOAD = """
from datasets import Dataset, DatasetDict, load_dataset
rows = [{"prompt": f"question {i}", "completion": str(i)} for i in range(20)]
whole = Dataset.from_list(rows)
DatasetDict({"train": whole.select(range(15)), "test": whole.select(range(15, 20))}).push_to_hub(
    "alice/rows", private=True, commit_message="push"
)
first = load_dataset("alice/rows")
print(sorted(first), first["train"].num_rows, first["test"][0]["prompt"])
whole.push_to_hub("alice/rows", config_name="more", split="train", revision="dev")
print(load_dataset("alice/rows", "more", split="train", revision="dev").num_rows)
try:
    load_dataset("alice/rows", "more")
except ValueError as error:
    print("main has", "default" in str(error))
"""
LOAD_LINES = """
import sys
from datasets import load_dataset
old = load_dataset("alice/lines", split="train", revision=sys.argv[1])
new = load_dataset("alice/lines", split="train")
streamed = list(load_dataset("alice/lines", split="train", streaming=True))
file = load_dataset("json", data_files="hf://datasets/alice/lines/train.jsonl", split="train")
print(old.num_rows, new.num_rows, len(streamed), file.num_rows, new[0]["text"])
"""


def test_a_dataset_is_pushed_as_parquet_and_loaded(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    said = run(stage, tmp_path, sys.executable, "-c", PUSH_AND_LOAD).splitlines()
    assert said == ["['test', 'train'] 15 question 15", "20", "main has True"]
    files = api.list_repo_files("alice/rows", repo_type="dataset")
    assert "data/train-00000-of-00001.parquet" in files
    card = api.dataset_info("alice/rows").card_data
    assert card is not None
    assert card["configs"][0]["config_name"] == "default"


def test_lines_of_json_are_loaded_at_a_revision_and_streamed(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    def rows(count: int) -> bytes:
        return b"".join(json.dumps({"text": f"row {i}"}).encode() + b"\n" for i in range(count))

    api.create_repo("lines", repo_type="dataset", private=True)
    first = put(api, "alice/lines", {"train.jsonl": rows(3)}, repo_type="dataset")
    put(api, "alice/lines", {"train.jsonl": rows(5)}, repo_type="dataset")
    said = run(stage, tmp_path, sys.executable, "-c", LOAD_LINES, first)
    assert said.split(maxsplit=4) == ["3", "5", "5", "5", "row 0\n"]
