"""What is trained and how: full, adapters, some blocks; on the tiny base model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox.standins import tiny_model
from orchestrator.training.sft_arguments import OPTIMIZERS, SCHEDULERS
from tests.training.trainings import (
    ROWS,
    Trained,
    arguments,
    needs_training,
    run_all,
    write_rows,
)

pytestmark = pytest.mark.training
NAME = "somebody/tiny"
#: What the libraries have, and what they make of 4 bits. Only the search for bitsandbytes is
#: answered; nothing of it is used.
OFFERED = """
import importlib.util
from transformers.training_args import OptimizerNames, SchedulerType
search = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: search(
    "json" if name == "bitsandbytes" else name, *rest
)
offered = {"optimizers": [one.value for one in OptimizerNames]}
offered["schedulers"] = [one.value for one in SchedulerType]
for compute in ("bf16", "fp32"):
    four = sys.modules["sft_model"].quantization_config(compute)
    offered[compute] = {
        "load_in_4bit": four.load_in_4bit,
        "quant_type": four.bnb_4bit_quant_type,
        "double_quant": four.bnb_4bit_use_double_quant,
        "compute": str(four.bnb_4bit_compute_dtype),
    }
json.dump(offered, open("offered.json", "w"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training of each kind, and what cannot work here."""
    needs_training()
    folder = tmp_path_factory.mktemp("methods")
    train = write_rows(folder / "train.jsonl", ROWS)
    uneven = [{"prompt": "a " * (7 * n % 40), "completion": "b"} for n in range(12)]
    lengths = write_rows(folder / "lengths.jsonl", uneven)
    full: dict[str, Any] = {"mode": "full", "learning_rate": 1e-3}
    runs = {
        "full": arguments(folder, "full", train, validation=train, base_model_name=NAME, **full),
        "again": arguments(folder, "again", train, validation=train, base_model_name=NAME, **full),
        "last": arguments(folder, "last", train, last_layers=1, **full),
        "some": arguments(
            folder, "some", train, targets=("q_proj", "v_proj"), last_layers=1, base_model_name=NAME
        ),
        "linear": arguments(folder, "linear", train, targets="all-linear", epochs=1),
        "steps": arguments(
            folder, "steps", train, batch_size=2, gradient_accumulation=2, optimizer="sgd", epochs=1
        ),
        "half": arguments(folder, "half", train, precision="bf16", epochs=1),
        "grouped": arguments(folder, "grouped", lengths, group_by_length=True, epochs=1),
        "fp16": arguments(folder, "fp16", train, precision="fp16"),
        "many": arguments(folder, "many", train, last_layers=3),
        "packed": arguments(folder, "packed", train, packing=True),
        "four": arguments(folder, "four", train, quantization="4bit", epochs=3),
        "tracked": arguments(folder, "tracked", train, track="trackio"),
        "eight": arguments(folder, "eight", train, optimizer="adamw_8bit"),
    }
    return run_all(folder, train, runs, after=OFFERED)


def test_the_trainer_takes_all_that_is_offered(trained: Trained) -> None:
    offered = json.loads((trained.folder / "offered.json").read_text("utf-8"))
    assert set(OPTIMIZERS) <= set(offered["optimizers"])
    assert set(SCHEDULERS) <= set(offered["schedulers"])


@pytest.mark.parametrize(("compute", "kind"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_four_bits_are_nf4_with_quantized_scales(trained: Trained, compute: str, kind: str) -> None:
    assert json.loads((trained.folder / "offered.json").read_text("utf-8"))[compute] == {
        "load_in_4bit": True,
        "quant_type": "nf4",
        "double_quant": True,
        "compute": f"torch.{kind}",
    }


def _tensors(file: Path) -> dict[str, Any]:
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors: dict[str, Any] = safetensors.load_file(file)
    return tensors


def _changed(trained: Trained, run: str) -> set[str]:
    """The tensors of a full training that differ from those of the base."""
    base = _tensors(trained.folder / "base" / "model.safetensors")
    now = _tensors(trained.final(run) / "model.safetensors")
    assert now.keys() == base.keys()
    assert all(now[name].shape == base[name].shape for name in base), "embeddings were resized"
    return {name for name in base if not (now[name] == base[name]).all()}


def _blocks(names: Iterable[str]) -> set[str]:
    return {name.split(".layers.")[1].split(".")[0] for name in names if ".layers." in name}


def test_a_full_training_changes_every_weight_and_leaves_a_model(trained: Trained) -> None:
    names = {file.name for file in trained.final("full").iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"),
        *("tokenizer_config.json", "chat_template.jinja", "trainer_state.json"),
        *("eval_results.json", "libraries.json"),
    }
    assert _changed(trained, "full") == _tensors(trained.final("full") / "model.safetensors").keys()
    start = trained.events("full")[0]
    assert start["trainable_parameters"] == start["parameters"]
    assert {
        str(one.dtype) for one in _tensors(trained.final("full") / "model.safetensors").values()
    } == {"float32"}
    config = json.loads((trained.final("full") / "config.json").read_text("utf-8"))
    assert (config["dtype"], config["vocab_size"]) == ("float32", tiny_model.VOCABULARY_SIZE)


def test_equal_full_trainings_leave_equal_bytes(trained: Trained) -> None:
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        one, other = ((trained.final(run) / name).read_bytes() for run in ("full", "again"))
        assert one == other, name


def test_of_a_full_training_only_the_last_blocks_may_change(trained: Trained) -> None:
    changed = _changed(trained, "last")
    assert _blocks(changed) == {"1"}
    assert all(".layers.1." in name for name in changed)


def test_an_adapter_has_only_the_targets_in_the_last_blocks(trained: Trained) -> None:
    names = _tensors(trained.final("some") / "adapter_model.safetensors").keys()
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
    assert _blocks(names) == {"1"}
    assert len(names) == 4


def test_all_linear_modules_can_be_meant_at_once(trained: Trained) -> None:
    names = _tensors(trained.final("linear") / "adapter_model.safetensors").keys()
    assert len(names) == 2 * 2 * 7
    assert not [name for name in names if "lm_head" in name or "embed" in name]


def test_batches_are_accumulated_into_steps(trained: Trained) -> None:
    assert trained.events("steps")[0]["steps"] == 3
    assert trained.events("steps")[-1]["step"] == 3


def test_the_start_tells_the_precision_and_why(trained: Trained) -> None:
    start = trained.events("full")[0]
    assert (start["precision"], start["precision_reason"]) == ("fp32", "there is no GPU")
    half = trained.events("half")[0]
    assert (half["precision"], half["precision_reason"]) == ("bf16", "asked for")
    assert trained.codes["half"] == 0


def test_rows_of_like_length_share_batches(trained: Trained) -> None:
    # Only that it is accepted and trains; the order is compared where trainings are resumed.
    assert trained.codes["grouped"] == 0


def test_no_file_holds_a_path_of_this_machine(trained: Trained) -> None:
    here = str(trained.folder).encode()
    for run in ("full", "some"):
        files = [file for file in (trained.folder / run).rglob("*") if file.is_file()]
        assert len(files) > 10
        assert [file for file in files if here in file.read_bytes()] == []
    for folder in ("final", "checkpoint-3", "checkpoint-6"):
        file = trained.folder / "some" / folder / "adapter_config.json"
        assert json.loads(file.read_text("utf-8"))["base_model_name_or_path"] == NAME


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("fp16", "--precision fp16: needs a GPU; use fp32 here"),
        ("many", "--last-layers 3: the model has 2 blocks"),
        ("packed", "--packing: rows in one sequence see each other without FlashAttention"),
    ],
)
def test_what_cannot_work_is_bad_input(trained: Trained, run: str, said: str) -> None:
    assert trained.codes[run] == 2
    assert trained.said(run).startswith(f"sft.py: {said}")
    assert not (trained.folder / run).exists()


@pytest.mark.parametrize(
    ("run", "package", "said"),
    [
        ("four", "bitsandbytes", "--quantization 4bit: bitsandbytes is not installed"),
        ("eight", "bitsandbytes", "--optimizer adamw_8bit: bitsandbytes is not installed"),
        ("tracked", "trackio", "--track trackio: trackio is not installed"),
    ],
)
def test_what_is_not_installed_is_bad_input(
    trained: Trained, run: str, package: str, said: str
) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed here")
    assert trained.codes[run] == 2
    assert trained.said(run).startswith(f"sft.py: {said}")


def test_an_adapter_learns_on_weights_of_4_bits(trained: Trained) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    assert trained.codes["four"] == 0, trained.said("four")
    # Two of these weights lie in a byte; they are told one by one all the same.
    four, half = (trained.events(run)[0]["parameters"] for run in ("four", "half"))
    assert four == half
    losses = [event["loss"] for event in trained.events("four") if "loss" in event]
    assert losses[-1] < losses[0] - 0.5
    tensors = _tensors(trained.final("four") / "adapter_model.safetensors")
    assert {str(one.dtype) for one in tensors.values()} == {"float32"}
    assert len(tensors) == 2 * 2 * 7
