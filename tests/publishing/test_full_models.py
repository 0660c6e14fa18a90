"""All weights of a model in several files: checked, published, and loaded from the Hub.

The files are those that transformers writes and reads; `test_adapter.py` has made-up ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import publisher
from orchestrator.adapter import AdapterReport, ExpectedAdapter, check_adapter
from orchestrator.digests import sha256_file
from orchestrator.ledger import Ledger, Target
from orchestrator.sandbox.standins import tiny_model
from orchestrator.stores.hub import HubStore
from tests.plans import router_plan
from tests.stores.hub_stage import HubStage, hub_stage

pytest.importorskip("peft", reason="the sandbox extra is not installed")
pytestmark = pytest.mark.slow  # three processes that load torch

REPO = "alice/model"
INDEX = "model.safetensors.index.json"
EXPECTED = ExpectedAdapter(
    base_model="tiny", hub_id="tiny", accepted_names=(), rank=None, allowed_targets=None
)
SHARD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model.save_pretrained(sys.argv[2], max_shard_size="100KB")
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""
LOAD = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
local = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained("alice/model", revision=sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained("alice/model", revision=sys.argv[2])
tokens = torch.tensor([tokenizer("where is my order").input_ids])
same = all(
    torch.equal(one, local.state_dict()[name]) for name, one in model.state_dict().items()
)
print(json.dumps([
    same,
    len(model.state_dict()) == len(local.state_dict()),
    torch.equal(model(tokens).logits, local(tokens).logits),
]))
"""


def python(home: Path, *arguments: object, stage: HubStage | None = None, token: str = "") -> str:
    """A process of its own: what transformers imports must not be in this one."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if stage is None:
        env["HF_HUB_OFFLINE"] = "1"
    else:
        env |= {"HF_ENDPOINT": stage.url} | ({"HF_TOKEN": token} if token else {})
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers in several files, as a training of all weights leaves it."""
    folder = tmp_path_factory.mktemp("full")
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "where is my order", "completion": "support"}\n' * 5)
    python(folder, tiny_model.__file__, rows, folder / "whole", 1)
    python(folder, "-c", SHARD, folder / "whole", folder / "shards")
    assert len(list((folder / "shards").glob("model-*-of-*.safetensors"))) > 2
    return folder / "shards"


@pytest.fixture(scope="module")
def checked(
    collected: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AdapterReport, Path]:
    out = tmp_path_factory.mktemp("checked") / "adapter"
    return check_adapter(collected, out, EXPECTED), out


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStage]:
    with hub_stage(tmp_path_factory.mktemp("hub")) as made:
        yield made


def test_every_file_of_it_passes_the_check(
    checked: tuple[AdapterReport, Path], collected: Path
) -> None:
    report, out = checked
    assert report.problems == ()
    assert report.kind == "merged"
    names = {file.path for file in report.files}
    index = json.loads((collected / INDEX).read_text())["weight_map"]
    assert {INDEX, "config.json", "tokenizer.json", *index.values()} <= names
    assert names == {file.name for file in out.iterdir()}
    shards = [name for name in names if name.endswith(".safetensors")]
    assert all(sha256_file(out / name) == sha256_file(collected / name) for name in shards)


def test_it_is_published_and_loads_as_it_was(
    checked: tuple[AdapterReport, Path], stage: HubStage, tmp_path: Path
) -> None:
    report, folder = checked
    # What was published before, of another shape, must not be loaded in its place.
    stage.put(REPO, {"model.safetensors": b"old", "model-00001-of-00099.safetensors": b"old"})
    card = folder / publisher.CARD
    card.write_text("---\nlicense: mit\n---\n# Card\n")
    names = [*(file.path for file in report.files), publisher.CARD]
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    target = Target("vertex", "project", "us-central1", "gs://bucket", REPO)
    run = ledger.add_run(router_plan(tmp_path).plan, target, tmp_path, again=False).id
    item = publisher.Publication(
        repo=REPO,
        private=True,
        title="Publish",
        marker="m",
        tag="v1",
        files={name: folder / name for name in names},
        digests={name: sha256_file(folder / name) for name in names},
    )
    with ledger.lease(run) as lease:
        assert lease is not None
        hub = HubStore(stage.url, "hf_alice")
        publisher.publish(item, hub, ledger.facts(run), lease)
    published = ledger.facts(run).last("published")
    ledger.close()
    assert published is not None
    remote = set(stage.api.list_repo_files(REPO, revision="v1"))
    assert remote == {*names, ".gitattributes"}
    told = python(tmp_path, "-c", LOAD, folder, "v1", stage=stage, token="hf_alice")
    assert json.loads(told.splitlines()[-1]) == [True, True, True]


def test_a_file_that_is_missing_or_is_not_in_the_index_is_refused(
    collected: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "collected"
    folder.mkdir()
    for file in collected.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    first = sorted(folder.glob("model-*.safetensors"))[0]
    first.rename(folder / "model-99999-of-99999.safetensors")
    (problem,) = check_adapter(folder, tmp_path / "out", EXPECTED).problems
    assert "does not agree with the weights" in problem
    (folder / "model-99999-of-99999.safetensors").unlink()
    (problem,) = check_adapter(folder, tmp_path / "out", EXPECTED).problems
    assert "does not agree with the weights" in problem
    assert not (tmp_path / "out").exists()
