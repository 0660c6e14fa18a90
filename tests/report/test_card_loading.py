"""The code on a model card, executed against the Hub of the sandbox as somebody else would."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from orchestrator.ledger import Artifact
from orchestrator.report.card import card_files, model_card, run_tag
from orchestrator.sandbox.hub.app import Account
from tests.plans import jobs_plan, router_plan
from tests.report.card_runs import JOBS, REPO, VERTEX, CardRun, full_evidence, make_run
from tests.sandbox.hub.process import run
from tests.sandbox.hub.stage import Stage, served

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WHOLE = "alice/whole-model"
ACCOUNTS = {"hf_alice": Account("alice", orgs={"google": "write", "meta-llama": "write"})}

#: Makes the base model, an adapter for it and a whole model, pushes all, and keeps what they say.
PUSH = """
import sys
from pathlib import Path
import torch
from huggingface_hub import HfApi
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from orchestrator.sandbox.standins import tiny_model
rows, folder, base_name, adapter_name, whole_name = sys.argv[1:]
tiny_model.make(Path(rows), Path(folder), 1)
base = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
for name in (base_name, whole_name):
    base.push_to_hub(name, private=True)
    tokenizer.push_to_hub(name)
commit = HfApi().model_info(base_name).sha
tokens = torch.arange(8).unsqueeze(0)
torch.save(base.eval()(tokens).logits, "whole.pt")
torch.manual_seed(0)
config = LoraConfig(
    r=4, init_lora_weights=False, task_type="CAUSAL_LM", base_model_name_or_path=base_name
)
adapted = get_peft_model(base, config)
adapted.peft_config["default"].base_model_name_or_path = base_name
adapted.push_to_hub(adapter_name, private=True)
torch.save(adapted.eval()(tokens).logits, "adapter.pt")
print(commit)
"""
#: Downloads the cards of repos and executes their blocks of Python, as they stand there: the first
#: one loads the model and asks it; the second one on an adapter's card merges it.
EXECUTE = """
import re
import sys
import torch
from huggingface_hub import hf_hub_download
tokens = torch.arange(8).unsqueeze(0)
for repo, tag, expected in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    card = open(hf_hub_download(repo, "README.md", revision=tag), encoding="utf-8").read()
    load, more, *_ = re.findall(r"^```python\\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    names = {}
    exec(load, names)
    wanted = torch.load(expected)
    print("the same:", torch.equal(names["model"].eval()(tokens).logits, wanted))
    if "merge_and_unload" in more:
        exec(more, names)
        again = names["AutoModelForCausalLM"].from_pretrained("merged").eval()
        print("merged:", torch.allclose(again(tokens).logits, wanted, atol=1e-3))
"""


def blocks_of(card: str) -> list[str]:
    return BLOCK.findall(card)


def adapter_run(folder: Path) -> CardRun:
    folder.mkdir()
    return make_run(folder, jobs_plan(folder, adapter=True).plan, JOBS).evaluated()


def whole_run(folder: Path) -> CardRun:
    folder.mkdir()
    checked = {"kind": "merged", "rank": 16, "stand_in": None}
    made = make_run(folder, router_plan(folder).plan, replace(VERTEX, repo=WHOLE), checked)
    tokenizer = tuple(
        Artifact("adapter", name, f"adapter/{name}", 1, "cd" * 32)
        for name in ("tokenizer.json", "tokenizer_config.json")
    )
    artifacts = (*made.facts.artifacts, *tokenizer)
    return replace(made, facts=replace(made.facts, artifacts=artifacts))


@pytest.mark.parametrize("make", [adapter_run, whole_run])
def test_every_block_of_python_is_python(tmp_path: Path, make: Callable[[Path], CardRun]) -> None:
    found = blocks_of(model_card(make(tmp_path / "run").view))
    assert len(found) >= 2
    for block in found:
        ast.parse(block)


def test_the_answers_are_as_long_as_those_that_were_evaluated(tmp_path: Path) -> None:
    made = adapter_run(tmp_path / "run")
    assert "max_new_tokens=256" in model_card(made.view)
    evaluation = {
        "scorer": "calls",
        "service": "file",
        "split": "test",
        "rows": 3,
        "max_new_tokens": 77,
        "batch_size": 1,
        "shots": 0,
        "conditions": ["tuned"],
    }
    changed = made.with_event("judging_changed", {"evaluation": evaluation, "gates": []})
    assert "max_new_tokens=77" in model_card(changed.evaluated(full_evidence()).view)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with served() as stage:
        stage.open(tmp_path / "hub", accounts=ACCOUNTS)
        yield stage


def publish(api: HfApi, made: CardRun, repo: str) -> str:
    """Commit the card and its pictures beside the weights, and tag them; gives the tag."""
    files = card_files(made.view)
    card = model_card(made.view, files).encode("utf-8")
    operations = [
        CommitOperationAdd(path, content) for path, content in {**files, "README.md": card}.items()
    ]
    api.create_commit(repo, operations, commit_message="Publish")
    tag = run_tag(made.facts.run.id)
    api.create_tag(repo, tag=tag)
    # What comes later is not what the card names.
    api.create_commit(
        repo, [CommitOperationAdd("config.json", b"{")], commit_message="Spoil what is newest"
    )
    return tag


def test_the_code_of_the_cards_loads_what_was_published(stage: Stage, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the sandbox extra is not installed")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "where is my order", "completion": "support"}\n' * 5)
    adapted, whole = adapter_run(tmp_path / "adapter"), whole_run(tmp_path / "whole")
    home = tmp_path / "home"
    home.mkdir()
    names = (adapted.facts.run.plan.model.hub_id, REPO, WHOLE)
    places = (str(rows), str(tmp_path / "base"))
    commit = run(stage, home, sys.executable, "-c", PUSH, *places, *names).split()[-1]
    adapted = adapted.with_target(base_commit=commit)
    assert commit in blocks_of(model_card(adapted.view))[0]
    api = HfApi(endpoint=stage.url, token="hf_alice")
    asked = []
    for made, repo, expected in ((adapted, REPO, "adapter.pt"), (whole, WHOLE, "whole.pt")):
        asked += [repo, publish(api, made, repo), expected]
    said = run(stage, home, sys.executable, "-c", EXECUTE, *asked).splitlines()
    results = [line for line in said if line.startswith(("the same:", "merged:"))]
    assert results == ["the same: True", "merged: True", "the same: True"]
