"""The stand-ins: they leave what the real service leaves, and say what they are."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapter import ExpectedAdapter, check_adapter
from orchestrator.catalog import LINEAR_LAYERS
from orchestrator.collector import best_checkpoint
from orchestrator.safetensors_file import read_header
from orchestrator.sandbox.standins.base import (
    STAND_IN_KEY,
    StandInOptions,
    TrainingFailed,
    TrainingJob,
    TrainingOutcome,
)
from orchestrator.sandbox.standins.layout import CHECKPOINTS, STDOUT, Layout
from orchestrator.sandbox.standins.replay import ReplayStandIn
from orchestrator.sandbox.standins.tiny import TinyStandIn, last_base

SERVICE_ID = "meta/llama3_1@llama-3.1-8b-instruct"
HUB_ID = "meta-llama/Llama-3.1-8B-Instruct"
ROWS = [{"prompt": f"Say {number}.\n", "completion": f"It is {number}."} for number in range(8)]


def _job(folder: Path, **changes: Any) -> TrainingJob:
    train, validation = folder / "train.jsonl", folder / "validation.jsonl"
    if not train.exists():
        train.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        validation.write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    job = TrainingJob("job-1", SERVICE_ID, HUB_ID, train, validation, 2, 2e-4, 4, 1)
    return replace(job, **changes)


def _output(folder: Path, name: str = "output") -> Path:
    (folder / name).mkdir()
    return folder / name


def _replay(folder: Path, name: str = "output", **changes: Any) -> Path:
    output = _output(folder, name)
    layout = changes.pop("layout", Layout.FINAL)
    ReplayStandIn(layout).train(
        _job(folder, **changes), output, options=StandInOptions(), cancelled=lambda: False
    )
    return output


def _json(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def _problems(final: Path, out: Path) -> tuple[str, ...]:
    expected = ExpectedAdapter(SERVICE_ID, HUB_ID, (), 4, LINEAR_LAYERS)
    return check_adapter(final, out, expected).problems


def _assert_marked(folder: Path, name: str) -> None:
    """Real base model, a tenant's path, and the truth about what it is."""
    config = _json(folder / "adapter_config.json")
    assert config["base_model_name_or_path"] == HUB_ID
    assert config[STAND_IN_KEY]["name"] == name
    assert config[STAND_IN_KEY]["for"] == SERVICE_ID
    assert "caip-tenant-" in _json(folder / "tokenizer_config.json")["name_or_path"]


# --- Replay ------------------------------------------------------------------------------------


def test_replay_leaves_the_files_of_the_real_service_and_says_that_they_are_canned(
    tmp_path: Path,
) -> None:
    output = _output(tmp_path)
    outcome = ReplayStandIn().train(
        _job(tmp_path), output, options=StandInOptions(), cancelled=lambda: False
    )
    checkpoints = output / CHECKPOINTS
    assert {one.name for one in checkpoints.iterdir()} == {"final", "checkpoint-2", "checkpoint-4"}
    for folder in checkpoints.iterdir():
        _assert_marked(folder, "replay")
    note = _json(checkpoints / "final" / "adapter_config.json")[STAND_IN_KEY]["note"]
    assert note == "canned, nothing was trained"
    history = _json(checkpoints / "final" / "trainer_state.json")["log_history"]
    assert all(entry["canned"] for entry in history)
    assert (output / STDOUT).read_text(encoding="utf-8").startswith('{"event": "start"')
    assert outcome.step_count == 0
    assert "nothing was trained" in outcome.differences[0]
    assert not list(output.glob(".replay-*"))


def test_replays_adapter_passes_the_check(tmp_path: Path) -> None:
    output = _replay(tmp_path)
    assert _problems(output / CHECKPOINTS / "final", tmp_path / "out") == ()


def test_replay_follows_the_seed_and_the_rank(tmp_path: Path) -> None:
    def weights(name: str, **changes: Any) -> Path:
        output = _replay(tmp_path, name, **changes)
        return output / CHECKPOINTS / "final" / "adapter_model.safetensors"

    one, same = weights("one"), weights("same")
    assert one.read_bytes() == same.read_bytes()
    assert weights("other", seed=2).read_bytes() != one.read_bytes()
    wide = read_header(weights("wide", adapter_rank=16)).tensors
    assert {min(tensor.shape) for tensor in wide.values()} == {16}


def test_replay_without_validation_has_no_evaluation(tmp_path: Path) -> None:
    final = _replay(tmp_path, validation=None) / CHECKPOINTS / "final"
    assert not (final / "eval_results.json").exists()
    history = _json(final / "trainer_state.json")["log_history"]
    assert not [entry for entry in history if "eval_loss" in entry]


def test_replay_keeps_ten_checkpoints(tmp_path: Path) -> None:
    output = _replay(tmp_path, epochs=12)
    assert len(list((output / CHECKPOINTS).glob("checkpoint-*"))) == 10


def test_replay_needs_no_torch() -> None:
    code = (
        "import sys, orchestrator.sandbox.standins.replay, orchestrator.sandbox.standins.tiny;"
        "print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cancelled_replay_leaves_no_adapter(tmp_path: Path) -> None:
    output = _output(tmp_path)
    ReplayStandIn().train(_job(tmp_path), output, options=StandInOptions(), cancelled=lambda: True)
    assert not list(output.rglob("*.safetensors"))


@pytest.mark.parametrize("layout", list(Layout))
def test_the_collector_finds_the_adapter_in_every_layout(tmp_path: Path, layout: Layout) -> None:
    output = _replay(tmp_path, layout=layout)
    names = [file.relative_to(output).as_posix() for file in output.rglob("*") if file.is_file()]
    assert best_checkpoint(names) == f"{CHECKPOINTS.as_posix()}/{layout.value}/"
    final = output / CHECKPOINTS / layout.value
    assert _problems(final, tmp_path / "out") == ()
    metrics = [name for name in names if name.endswith("eval_results.json")]
    assert len(metrics) == 1
    assert (final / "eval_results.json").exists() is (layout is not Layout.ADAPTER)


# --- Tiny --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """A training with the tiny stand-in."""

    root: Path
    output: Path
    outcome: TrainingOutcome
    base: Path

    @property
    def final(self) -> Path:
        """The final checkpoint."""
        return self.output / CHECKPOINTS / "final"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """One training that the tests share."""
    if importlib.util.find_spec("trl") is None:
        pytest.skip("the sandbox extra is not installed: pip install 'orchestrator[sandbox]'")
    folder = tmp_path_factory.mktemp("tiny")
    stand_in = TinyStandIn(folder / "root")
    assert last_base(folder / "root") is None
    output = _output(folder)
    outcome = stand_in.train(
        _job(folder), output, options=StandInOptions(), cancelled=lambda: False
    )
    assert stand_in.base_dir is not None
    return Training(folder / "root", output, outcome, stand_in.base_dir)


@pytest.mark.training
def test_tiny_leaves_the_layout_of_the_real_service(training: Training) -> None:
    checkpoints = training.output / CHECKPOINTS
    assert {one.name for one in checkpoints.iterdir()} == {"final", "checkpoint-2", "checkpoint-4"}
    for folder in checkpoints.iterdir():
        _assert_marked(folder, "tiny")
    assert (training.final / "eval_results.json").exists()
    events = (training.output / STDOUT).read_text(encoding="utf-8").splitlines()
    assert json.loads(events[-1])["event"] == "end"
    assert training.outcome.step_count == 4


@pytest.mark.training
def test_tinys_loss_falls(training: Training) -> None:
    history = _json(training.final / "trainer_state.json")["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < losses[0]


@pytest.mark.training
def test_tiny_names_every_difference(training: Training) -> None:
    text = "\n".join(training.outcome.differences)
    assert "112,448 parameters instead of meta/llama3_1" in text
    assert "learning rate: 0.01 instead of 0.0002" in text
    assert "batch size: 4" in text
    assert "max length: 1024" in text
    assert "0 of 8 training rows were cut" in text
    assert "epochs" not in text


@pytest.mark.training
def test_tinys_adapter_passes_the_check_and_is_scrubbed(training: Training, tmp_path: Path) -> None:
    assert _problems(training.final, tmp_path / "out") == ()
    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        assert b"caip-tenant" not in content
        assert str(training.root).encode() not in content


@pytest.mark.training
def test_the_base_model_stays_for_whoever_asks_for_it(training: Training) -> None:
    assert last_base(training.root) == training.base
    assert (training.base / "model.safetensors").exists()
    assert sorted(one.name for one in (training.root / "tiny").iterdir()) == sorted(
        [training.base.name, "last"]
    )


#: Loads an adapter as a user would, and says whether it changes what the base model says.
LOAD = """
import json, sys, warnings
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, *adapters = sys.argv[1:]
found = {}
for adapter in adapters:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    ids = AutoTokenizer.from_pretrained(base)("Say 1.", return_tensors="pt")
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        before = model(**ids).logits
        after = PeftModel.from_pretrained(model, adapter).eval()(**ids).logits
    found[adapter] = [float((after - before).abs().max()), [
        str(one.message) for one in caught if not issubclass(one.category, FutureWarning)]]
print(json.dumps(found))
"""


@pytest.mark.training
def test_peft_loads_the_published_adapters_onto_the_tiny_base(
    training: Training, tmp_path: Path
) -> None:
    replayed = _replay(tmp_path) / CHECKPOINTS / "final"
    folders = [tmp_path / "tiny", tmp_path / "replay"]
    assert _problems(training.final, folders[0]) == ()
    assert _problems(replayed, folders[1]) == ()
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, str(training.base), *map(str, folders)],
        env={
            "PATH": os.environ.get("PATH", ""),
            "HF_HUB_OFFLINE": "1",
            "HOME": str(tmp_path),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    for folder in folders:
        change, said = found[str(folder)]
        assert change > 1e-3
        # PEFT says that it does not know the stand-in's mark; it must not miss any weights.
        assert len(said) == 1, said
        assert f"['{STAND_IN_KEY}']" in said[0]


@pytest.mark.training
def test_a_training_that_fails_reports_what_it_said_last(
    training: Training, tmp_path: Path
) -> None:
    output = _output(tmp_path)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{", encoding="utf-8")
    job = _job(training.output.parent, validation=broken)
    with pytest.raises(TrainingFailed, match=r"ended with code 2: .*broken\.jsonl:1: is not JSON"):
        TinyStandIn(training.root).train(
            job, output, options=StandInOptions(), cancelled=lambda: False
        )
    assert (output / STDOUT).exists()
    assert not list((training.root / "tiny").glob("work-*"))


def test_a_python_that_cannot_train_fails_the_training(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no torch here >&2\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(TrainingFailed, match="ended with code 3: no torch here"):
        TinyStandIn(tmp_path / "root", str(python)).train(
            _job(tmp_path), _output(tmp_path), options=StandInOptions(), cancelled=lambda: False
        )


def test_a_cancelled_training_stops_its_process(tmp_path: Path) -> None:
    python = tmp_path / "python"
    pid = tmp_path / "pid"
    python.write_text(f'#!/bin/sh\necho $$ > "{pid}"\nexec sleep 600\n', encoding="utf-8")
    python.chmod(0o755)
    output = _output(tmp_path)
    outcome = TinyStandIn(tmp_path / "root", str(python)).train(
        _job(tmp_path),
        output,
        options=StandInOptions(),
        cancelled=lambda: pid.exists() and pid.read_text(encoding="utf-8").endswith("\n"),
    )
    assert outcome.step_count == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)
    assert not list(output.rglob("*.safetensors"))
    assert not list((tmp_path / "root" / "tiny").iterdir())


def test_the_scripts_get_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nenv >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr("orchestrator.sandbox.standins.tiny._LAST_LINES", 100)
    with pytest.raises(TrainingFailed) as caught:
        TinyStandIn(tmp_path / "root", str(python)).train(
            _job(tmp_path), _output(tmp_path), options=StandInOptions(), cancelled=lambda: False
        )
    said = str(caught.value)
    assert "HF_HUB_OFFLINE=1" in said
    assert "TOKENIZERS_PARALLELISM=false" in said
    assert "hf_secret" not in said
    assert "/somewhere" not in said


@pytest.mark.slow
@pytest.mark.training
def test_real_route_plans_are_learned_in_seconds(tmp_path: Path) -> None:
    data = os.environ.get("ORCHESTRATOR_DATA")
    if not data:
        pytest.skip("ORCHESTRATOR_DATA is not set: the route plans are not in the repository")
    lines = (Path(data) / "route-plan" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join(lines[:51]) + "\n", encoding="utf-8")
    output = _output(tmp_path)
    outcome = TinyStandIn(tmp_path / "root").train(
        _job(tmp_path, train=train, validation=None, epochs=3),
        output,
        # Shorter rows than a rehearsal has, to keep the tests quick.
        options=StandInOptions(max_length=640),
        cancelled=lambda: False,
    )
    assert outcome.step_count == 39
    history = _json(output / CHECKPOINTS / "final" / "trainer_state.json")["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.5
