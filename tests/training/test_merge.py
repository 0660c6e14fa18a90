"""merge.py, run as a job runs it. All merges share one process: torch is slow to import."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.safetensors_file import non_finite, read_header
from orchestrator.sandbox.standins import tiny_model
from orchestrator.training import merge

pytestmark = pytest.mark.training

NAME = "people/tiny"
SCRIPT = Path(merge.__file__)

#: Makes adapters with weights that do something, then merges as it is told.
DRIVER = """
import contextlib, importlib.util, json, shutil, sys
from pathlib import Path
plan = json.load(open(sys.argv[1]))
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
with contextlib.redirect_stdout(sys.stderr):
    load("tiny_model", plan["maker"]).make(Path(plan["rows"]), Path("base"), 0)
for name, one in plan["adapters"].items():
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained("base")
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=one["targets"])
    adapter = get_peft_model(base, config)
    for parameter_name, parameter in adapter.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.constant_(parameter, one["value"])
    adapter.peft_config["default"].base_model_name_or_path = one["base"]
    adapter.save_pretrained(name)
    if one["tokenizer"]:
        tokenizer = AutoTokenizer.from_pretrained("base")
        tokenizer.chat_template = "its own " + tokenizer.chat_template
        tokenizer.save_pretrained(name)
shutil.copytree("base", "broken-base")
broken = AutoModelForCausalLM.from_pretrained("base")
with torch.no_grad():
    broken.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
broken.save_pretrained("broken-base")
merge = load("merge", plan["script"])
codes = {}
for name, arguments in plan["runs"].items():
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            codes[name] = merge.main(arguments)
json.dump(codes, open("codes.json", "w"))
def logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits
from peft import PeftModel
ids = list(range(5, 60))
differences = {}
for name, adapter in (("plain", "adapter"), ("head", "head"), ("embed", "embed")):
    base = AutoModelForCausalLM.from_pretrained("base")
    merged = AutoModelForCausalLM.from_pretrained(f"{name}-out/merged")
    if adapter != "adapter":
        # As it was trained: what the adapter adds to one end is not added to the other.
        base.lm_head.weight = torch.nn.Parameter(base.lm_head.weight.detach().clone())
    both = PeftModel.from_pretrained(base, adapter).eval()
    differences[name] = float((logits(both, ids) - logits(merged, ids)).abs().max())
json.dump(differences, open("differences.json", "w"))
"""


@dataclass(frozen=True)
class Merged:
    """The folder in which everything happened, and the exit codes of the runs."""

    folder: Path
    codes: dict[str, int]

    def said(self, run: str) -> str:
        return (self.folder / f"{run}.err").read_text(encoding="utf-8")

    def events(self, run: str) -> list[dict[str, Any]]:
        text = (self.folder / f"{run}.out").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def record(self, run: str) -> dict[str, Any]:
        file = self.folder / f"{run}-out" / "merge.json"
        return dict(json.loads(file.read_text(encoding="utf-8")))


def _run(name: str, adapter: str, *more: str, base: str = "base") -> list[str]:
    command = ["--base-model", base, "--base-model-name", NAME, "--adapter", adapter]
    return [*command, "--output", f"{name}-out", "--threads", "1", *more]


def _adapter(*targets: str, value: float = 0.02, base: str = NAME, own: bool = False) -> Any:
    return {"targets": targets, "value": value, "base": base, "tokenizer": own}


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    folder = tmp_path_factory.mktemp("merging")
    rows = [{"prompt": f"Where is order {n}?", "completion": f"/find({n})"} for n in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {
        "maker": tiny_model.__file__,
        "script": str(SCRIPT),
        "rows": "rows.jsonl",
        "adapters": {
            "adapter": _adapter("q_proj", "down_proj"),
            "own": _adapter("q_proj", own=True),
            "head": _adapter("q_proj", "lm_head"),
            "embed": _adapter("q_proj", "embed_tokens"),
            "empty": _adapter("q_proj", value=0.0),
            "infinite": _adapter("q_proj", value=float("inf")),
            "stranger": _adapter("q_proj", base="people/other"),
        },
        "runs": {
            "plain": _run("plain", "adapter"),
            "again": _run("plain", "adapter"),
            "own": _run("own", "own"),
            "head": _run("head", "head"),
            "embed": _run("embed", "embed"),
            "sharded": _run("sharded", "adapter", "--shard-size", "150KB"),
            "strict": _run("strict", "adapter", "--tolerance", "1e-12"),
            "empty": _run("empty", "empty"),
            "infinite": _run("infinite", "infinite"),
            "broken": _run("broken", "adapter", base="broken-base"),
            "stranger": _run("stranger", "stranger"),
            "told": _run("told", "stranger", "--other-base"),
            "nothing": _run("nothing", "rows.jsonl"),
        },
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    environment = {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", DRIVER, "plan.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Merged(folder, json.loads((folder / "codes.json").read_text()))


def test_what_was_written_is_base_and_adapter_together(merged: Merged) -> None:
    assert merged.codes["plain"] == 0
    differences = json.loads((merged.folder / "differences.json").read_text())
    assert differences["plain"] < 1e-4
    record = merged.record("plain")
    assert record["greatest_logit_difference"] < 1e-4 < record["tolerance"]
    assert record["adapter_effect"] > 0.01
    assert (record["base_model"], record["precision"]) == (NAME, "float32")
    assert merged.events("plain")[-1]["event"] == "end"


def test_every_tensor_is_finite_and_of_32_bits(merged: Merged) -> None:
    file = merged.folder / "plain-out" / "merged" / "model.safetensors"
    header = read_header(file)
    assert {tensor.dtype for tensor in header.tensors.values()} == {"F32"}
    assert not any(non_finite(file, tensor) for tensor in header.tensors.values())


def test_the_record_names_every_file_by_its_digest(merged: Merged) -> None:
    folder = merged.folder / "plain-out" / "merged"
    assert set(merged.record("plain")["files"]) == {file.name for file in folder.iterdir()}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(
        merged.record("plain")["files"]
    )


def test_no_file_names_a_folder_of_the_machine(merged: Merged) -> None:
    for file in (merged.folder / "plain-out").rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert str(merged.folder) not in text
        assert '"base"' not in text
        assert "local_files_only" not in text


@pytest.mark.parametrize("end", ["head", "embed"])
def test_tied_embeddings_part_where_the_adapter_changes_one_end(merged: Merged, end: str) -> None:
    assert merged.codes[end] == 0, merged.said(end)
    assert merged.record(end)["untied_embeddings"]
    assert json.loads((merged.folder / "differences.json").read_text())[end] < 1e-4
    config = json.loads((merged.folder / f"{end}-out" / "merged" / "config.json").read_text())
    assert not config["tie_word_embeddings"]


def test_tied_embeddings_stay_tied_otherwise(merged: Merged) -> None:
    assert not merged.record("plain")["untied_embeddings"]
    file = merged.folder / "plain-out" / "merged" / "model.safetensors"
    assert "lm_head.weight" not in read_header(file).tensors


def test_the_tokenizer_of_the_adapter_is_kept_with_its_template(merged: Merged) -> None:
    own = merged.folder / "own-out" / "merged" / "chat_template.jinja"
    base = merged.folder / "plain-out" / "merged" / "chat_template.jinja"
    assert own.read_text() == "its own " + base.read_text()
    assert base.read_text() == tiny_model.CHAT_TEMPLATE


def test_large_models_are_written_in_several_files(merged: Merged) -> None:
    folder = merged.folder / "sharded-out" / "merged"
    assert merged.codes["sharded"] == 0
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert (folder / "model.safetensors.index.json").is_file()


def test_a_difference_over_the_tolerance_leaves_the_record_but_no_model(merged: Merged) -> None:
    assert merged.codes["strict"] == 1
    assert "more than --tolerance 1e-12" in merged.said("strict")
    assert not merged.record("strict")["within_tolerance"]
    assert [file.name for file in (merged.folder / "strict-out").iterdir()] == ["merge.json"]


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        ("empty", 1, "changes no logit: it is empty"),
        ("infinite", 1, "of the adapter holds NaN or infinity"),
        ("broken", 1, "layers.1.mlp.up_proj.weight of the base model holds NaN"),
        ("stranger", 2, "the adapter was trained on people/other, not on people/tiny"),
        ("nothing", 2, "is not the configuration of an adapter"),
        ("again", 2, "merged/ is there already"),
    ],
)
def test_what_cannot_be_merged_is_told_and_leaves_nothing(
    merged: Merged, run: str, code: int, words: str
) -> None:
    assert merged.codes[run] == code
    last = merged.said(run).splitlines()[-1]
    assert last.startswith("merge.py: ")
    assert words in last
    assert "Traceback" not in merged.said(run)
    if run != "again":
        assert not (merged.folder / f"{run}-out" / "merged").exists()


def test_an_adapter_of_another_base_is_merged_when_told_so(merged: Merged) -> None:
    assert merged.codes["told"] == 0


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "much"])
def test_a_tolerance_is_a_number_over_zero(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--base-model", "b", "--adapter", "a", "--output", "o", "--tolerance", text]
    with pytest.raises(SystemExit) as stopped:
        merge.parse_arguments(command)
    assert stopped.value.code == 2
    assert "--tolerance" in capsys.readouterr().err
