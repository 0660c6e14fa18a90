"""What the arguments become before anything is trained: options, precision, contradictions."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import sft
from orchestrator.training.sft_arguments import SYNTAXES, Arguments, parse_arguments
from orchestrator.training.sft_model import Machine, choose_precision
from orchestrator.training.sft_trainer import step_count, training_options

BASE = ["--base-model", "x", "--train", "t", "--output", "o"]
CPU = Machine(cuda=False, bf16=False)
OLD_GPU = Machine(cuda=True, bf16=False)
NEW_GPU = Machine(cuda=True, bf16=True)


def _options(words: str, machine: Machine = CPU) -> dict[str, Any]:
    arguments = parse_arguments([*BASE, *words.split()])
    precision = choose_precision(arguments.precision, arguments.mode, "llama", machine)
    return training_options(arguments, precision, machine, steps=300, validated=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--weight-decay 0.02", {"weight_decay": 0.02}),
        ("--warmup-ratio 0.05", {"warmup_steps": 0.05}),
        ("--scheduler linear", {"lr_scheduler_type": "linear"}),
        ("--optimizer adafactor", {"optim": "adafactor"}),
        (
            "--batch-size 4 --gradient-accumulation 3",
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
        ),
        ("--max-grad-norm 0.3", {"max_grad_norm": 0.3}),
        ("--group-by-length", {"train_sampling_strategy": "group_by_length"}),
        ("--epochs 15 --learning-rate 1e-5", {"num_train_epochs": 15, "learning_rate": 1e-5}),
        ("--seed 7", {"seed": 7, "data_seed": 7}),
        ("--max-length 1280", {"max_length": 1280}),
        (
            "--save-steps 20",
            {
                "save_strategy": "steps",
                "eval_strategy": "steps",
                "save_steps": 20,
                "eval_steps": 20,
            },
        ),
        ("", {"save_strategy": "epoch", "eval_strategy": "epoch", "optim": "adamw_torch_fused"}),
        ("", {"train_sampling_strategy": "random", "report_to": "none", "packing": False}),
        ("", {"lr_scheduler_type": "cosine", "warmup_steps": 0.03, "weight_decay": 0.0}),
        ("", {"use_cpu": True, "bf16": False, "fp16": False, "logging_steps": 3}),
    ],
)
def test_arguments_reach_the_trainer(words: str, expected: dict[str, Any]) -> None:
    options = _options(words)
    assert {name: options[name] for name in expected} == expected


def test_precision_reaches_the_trainer() -> None:
    old, new = _options("", OLD_GPU), _options("", NEW_GPU)
    assert (old["fp16"], old["bf16"], old["use_cpu"]) == (True, False, False)
    assert (new["fp16"], new["bf16"]) == (False, True)


@pytest.mark.parametrize(
    ("mode", "model_type", "machine", "compute", "weights", "reason"),
    [
        ("lora", "llama", CPU, "fp32", "fp32", "there is no GPU"),
        ("lora", "llama", NEW_GPU, "bf16", "bf16", "the GPU has it"),
        ("full", "llama", NEW_GPU, "bf16", "fp32", "the GPU has it"),
        ("lora", "llama", OLD_GPU, "fp16", "fp16", "the GPU has no bf16"),
        ("full", "llama", OLD_GPU, "fp16", "fp32", "the GPU has no bf16"),
        ("lora", "gemma3", OLD_GPU, "fp32", "fp32", "fp16 gives NaN with gemma3, and"),
        ("full", "gemma3_text", OLD_GPU, "fp32", "fp32", "fp16 gives NaN with gemma3_text, and"),
        ("lora", "gemma3_text", NEW_GPU, "bf16", "bf16", "the GPU has it"),
    ],
)
def test_precision_is_what_machine_and_model_bear(
    mode: str, model_type: str, machine: Machine, compute: str, weights: str, reason: str
) -> None:
    chosen = choose_precision("auto", mode, model_type, machine)
    assert (chosen.compute, chosen.weights) == (compute, weights)
    assert chosen.reason.startswith(reason)


@pytest.mark.parametrize(
    ("wanted", "model_type", "machine", "said"),
    [
        ("fp16", "llama", CPU, "--precision fp16: needs a GPU"),
        ("fp16", "gemma3_text", NEW_GPU, "--precision fp16: gives NaN with gemma3_text"),
        ("bf16", "llama", OLD_GPU, "--precision bf16: this GPU has none"),
    ],
)
def test_a_precision_that_cannot_work_is_bad_input(
    wanted: str, model_type: str, machine: Machine, said: str
) -> None:
    with pytest.raises(sft.BadInput, match=said):
        choose_precision(wanted, "lora", model_type, machine)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--mode full --quantization 4bit", "4-bit weights cannot be trained"),
        ("--mode full --targets q_proj", "--last-layers restricts a full training"),
        ("--packing --group-by-length", "exclude each other"),
        ("--plateau-patience 2", "needs --validation"),
        ("--max-unparsed 0.1", "needs --probe"),
        ("--max-unparsed 0.1 --probe p", "needs --probe and an --answer-syntax"),
        ("--max-unparsed 1 --probe p --answer-syntax json", "out of range"),
        ("--warmup-ratio 1", "out of range"),
        ("--scheduler sometimes", "invalid choice"),
        ("--weight-decay -1", "out of range"),
        ("--save-steps 0", "must be at least 1"),
    ],
)
def test_what_contradicts_itself_is_bad_usage(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments([*BASE, *words.split()])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_outputs_call_the_base_model_as_asked() -> None:
    assert parse_arguments(BASE).base_model_name == "x"
    assert parse_arguments([*BASE, "--base-model-name", "org/x"]).base_model_name == "org/x"


def test_steps_are_whole_batches_of_whole_accumulations() -> None:
    arguments = parse_arguments(
        [*BASE, *["--batch-size", "4", "--gradient-accumulation", "3", "--epochs", "15"]]
    )
    assert step_count(92, arguments) == 8 * 15
    assert step_count(1, arguments) == 15


def test_every_argument_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(Arguments):
        option = f"--{field.name.replace('_', '-')}"
        found = [line for line in text.splitlines() if line.strip().startswith(option)]
        assert found, option
        # Help stands beside the option, or below it where the option is long.
        at = text.splitlines().index(found[0])
        assert len(" ".join(text.splitlines()[at : at + 2]).split()) > 4, option


def test_the_parser_s_syntaxes_can_all_be_asked_for() -> None:
    from orchestrator import calls

    assert {*calls.Syntax} == {*SYNTAXES} - {"json", "none"}


def test_the_files_run_from_wherever_they_are_put_together(tmp_path: Path) -> None:
    folder = Path(sft.__file__).parent
    shared = (folder / "argument_types.py", folder.parent / "calls.py")
    for file in (*folder.glob("sft*.py"), *shared):
        shutil.copy(file, tmp_path)
    script = [sys.executable, "-I", str(tmp_path / "sft.py"), "--help"]
    done = subprocess.run(script, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import sft_probe as p;"
    code += "print(p.calls_module().__file__)"
    probe = [sys.executable, "-I", "-c", code, str(tmp_path)]
    done = subprocess.run(probe, cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(tmp_path / "calls.py"), done.stderr
