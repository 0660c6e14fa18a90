"""The Hub face, judged by transformers and PEFT with tiny random models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from orchestrator.sandbox.standins import tiny_model
from tests.sandbox.hub.process import attempt, run
from tests.sandbox.hub.stage import Stage

pytest.importorskip("peft", reason="the sandbox extra is not installed")

PUSH = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model.push_to_hub("alice/base", private=True)
tokenizer.push_to_hub("alice/base")
again = AutoModelForCausalLM.from_pretrained("alice/base")
same = all((a == b).all() for a, b in zip(model.parameters(), again.parameters(), strict=True))
print(same, AutoTokenizer.from_pretrained("alice/base").vocab_size == tokenizer.vocab_size)
# Files that a repository may have or not: none of these is an error.
from transformers import GenerationConfig
from transformers.utils import cached_file
quietly = {"_raise_exceptions_for_missing_entries": False}
absent = cached_file("alice/base", "preprocessor_config.json", **quietly)
generation = GenerationConfig.from_pretrained("alice/base")
print(absent, generation.eos_token_id == tokenizer.eos_token_id)
try:
    cached_file("alice/base", "preprocessor_config.json")
except OSError as error:
    print("does not appear to have a file named" in str(error))
"""
LOAD = """
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained("alice/base")
"""
ADAPT = """
import sys
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained("alice/base")
torch.manual_seed(0)
adapted = get_peft_model(base, LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM"))
adapted.push_to_hub("alice/adapter", private=True)
tokens = torch.arange(8).unsqueeze(0)
expected = adapted.eval()(tokens).logits
fresh = AutoModelForCausalLM.from_pretrained("alice/base")
plain = fresh(tokens).logits
loaded = PeftModel.from_pretrained(fresh, "alice/adapter").eval()(tokens).logits
whole = AutoPeftModelForCausalLM.from_pretrained("alice/adapter").eval()(tokens).logits
print(torch.equal(loaded, expected), torch.equal(whole, expected), torch.equal(plain, expected))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and its tokenizer, in files."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "where is my order", "completion": "support"}\n' * 5)
    script = str(tiny_model.__file__)
    command = [sys.executable, script, str(rows), str(folder / "model"), "1"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "model"


def test_a_model_and_its_tokenizer_are_pushed_and_loaded(
    stage: Stage, api: HfApi, folder: Path, tmp_path: Path
) -> None:
    said = run(stage, tmp_path, sys.executable, "-c", PUSH, str(folder)).splitlines()
    assert said == ["True True", "None True", "True"]
    info = api.model_info("alice/base")
    assert info.safetensors is not None
    assert info.safetensors.total > 100_000
    assert info.config is not None
    assert info.config["model_type"] == "llama"
    stranger = attempt(stage, tmp_path, sys.executable, "-c", LOAD, token=None)
    assert stranger.returncode != 0
    assert "is not a local folder and is not a valid model identifier" in stranger.stderr


def test_an_adapter_is_pushed_and_loaded_with_its_base(
    stage: Stage, api: HfApi, folder: Path, tmp_path: Path
) -> None:
    api.create_repo("base", private=True)
    api.upload_folder(repo_id="alice/base", folder_path=folder)
    assert run(stage, tmp_path, sys.executable, "-c", ADAPT).split() == ["True", "True", "False"]
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= set(
        api.list_repo_files("alice/adapter")
    )
    config = api.model_info("alice/adapter").config
    assert config is not None
    assert config["peft"]["base_model_name_or_path"] == "alice/base"
