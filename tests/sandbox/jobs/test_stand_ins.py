"""What becomes of a job's command where a small model, or none, stands in for its base model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import Volume

from orchestrator.adapter import STAND_IN
from orchestrator.errors import InputError
from orchestrator.safetensors_file import read_header
from orchestrator.sandbox.jobs import uv_shim
from orchestrator.sandbox.jobs.face import Stage as JobStage
from orchestrator.sandbox.jobs.fewer_rows import with_fewer_rows
from orchestrator.sandbox.jobs.stand_in import (
    Prepared,
    StandInFailed,
    script_of,
    value_of,
    with_value,
    without,
)
from orchestrator.sandbox.jobs.stand_ins import JOB_STAND_INS, job_stand_in
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.sandbox.standins.tiny import TinyStandIn
from tests.sandbox.jobs.stage import Stage, kept, staged, submit

KEEPER = ("uv", "run", "/o/code/job.py", "--candidate", "a/b-candidates", "--branch", "r-1")
SFT = (*KEEPER, "--prefix", "p-1", "--", "sft.py", "--base-model", "google/gemma-3-270m")


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (SFT, "sft.py"),
        (("uv", "run", "/o/code/generate.py", "--rows", "x.py"), "generate.py"),
        (("python", "-c", "pass"), None),
        (("uv", "run", "/o/job.py", "--", "merge.py", "--note", "sft.py"), "merge.py"),
    ],
)
def test_the_script_that_does_the_work_is_found(command: tuple[str, ...], script: str) -> None:
    assert script_of(command) == script


def test_flags_are_read_set_and_removed_in_both_spellings() -> None:
    command = ("x.py", "--rank", "8", "--epochs=3", "--packing", "--targets", "q", "v")
    assert (value_of(command, "--rank"), value_of(command, "--epochs")) == ("8", "3")
    assert value_of(command, "--ran") is None
    assert with_value(command, "--epochs", "1")[-2:] == ("--epochs", "1")
    assert "--epochs=3" not in with_value(command, "--epochs", "1")
    assert without(command, "--packing", takes_value=False) == tuple(
        part for part in command if part != "--packing"
    )


def tiny(tmp_path: Path, **options: object) -> tuple[Path, object]:
    """The tiny stand-in with a base model that was made by hand: no torch is needed."""
    base = tmp_path / "tiny" / "made-before"
    base.mkdir(parents=True)
    (base / "made.json").write_text('{"parameters": 112000}')
    (base / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    (tmp_path / "tiny" / "last").write_text("made-before")
    options.setdefault("answers", "real")
    return base, job_stand_in("tiny", tmp_path, StandInOptions(**options))  # type: ignore[arg-type]  # named by the caller


def prepare(stand_in: object, *command: str) -> Prepared:
    return stand_in.prepare(command, Path)  # type: ignore[attr-defined,no-any-return]  # the Protocol is under test


def test_tiny_leads_a_prediction_to_the_model_of_its_adapter(tmp_path: Path) -> None:
    base, stand_in = tiny(tmp_path)
    other = tmp_path / "tiny" / "other"
    shutil.copytree(base, other)
    (other / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"b": 0}}}))
    (tmp_path / "final").mkdir()
    shutil.copy(other / "tokenizer.json", tmp_path / "final")
    words = ("generate.py", "--base-model", "meta-llama/L", "--base-revision", "abc", "--rows", "r")
    plain = prepare(stand_in, "uv", "run", *words)
    assert value_of(plain.command, "--base-model") == str(base)
    assert value_of(plain.command, "--base-model-name") == "meta-llama/L"
    assert value_of(plain.command, "--base-revision") is None
    adapted = prepare(stand_in, "uv", "run", *words, "--adapter", str(tmp_path / "final"))
    assert value_of(adapted.command, "--base-model") == str(other)
    assert adapted.differences[0].startswith("base model: a random 2-layer model of 112,000")


def test_tiny_turns_off_what_needs_a_gpu_and_tells_each_change(tmp_path: Path) -> None:
    _, stand_in = tiny(tmp_path)
    command = ("uv", "run", "generate.py", "--base-model", "a/b", "--rows", "r", "--engine", "vllm")
    prepared = prepare(stand_in, *command, "--precision", "bf16")
    assert value_of(prepared.command, "--engine") == "transformers"
    assert value_of(prepared.command, "--precision") == "fp32"
    assert "engine: transformers instead of vllm" in prepared.differences
    assert "precision: fp32 instead of bf16" in prepared.differences


@pytest.mark.parametrize(
    ("set_by_stand_in", "asked", "told", "given"),
    [
        (10, None, [], None),
        (10, "20", ["last layers: all 2 there are instead of 20"], None),
        (1, "20", ["last layers: 1 instead of 20"], "1"),
        (1, None, ["last layers: 1 (the job sets none)"], "1"),
        (None, "20", ["last layers: all 2 there are instead of 20"], None),
        (None, "1", [], "1"),
    ],
)
def test_tiny_tells_once_which_layers_it_trains(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_by_stand_in: int | None,
    asked: str | None,
    told: list[str],
    given: str | None,
) -> None:
    base, stand_in = tiny(tmp_path, last_layers=set_by_stand_in)
    monkeypatch.setattr(TinyStandIn, "base_for", lambda *_: base)
    flags = () if asked is None else ("--last-layers", asked)
    prepared = prepare(stand_in, *SFT, "--train", "rows.jsonl", *flags)
    assert [line for line in prepared.differences if "layers:" in line] == told
    assert value_of(prepared.command, "--last-layers") == given


@pytest.mark.parametrize(
    "command",
    [
        ("uv", "run", "generate.py", "--base-model", "/o/final", "--rows", "r"),
        ("python", "-c", "pass"),
    ],
)
def test_tiny_leaves_alone_what_names_no_model_of_the_hub(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    _, stand_in = tiny(tmp_path)
    assert prepare(stand_in, *command) == Prepared(command)


def test_tiny_says_when_no_model_can_stand_in(tmp_path: Path) -> None:
    stand_in = job_stand_in("tiny", tmp_path, StandInOptions())
    with pytest.raises(StandInFailed, match="no training was run here"):
        prepare(stand_in, "uv", "run", "merge.py", "--base-model", "a/b", "--adapter", "/no")


def test_replay_lightens_only_what_the_options_say(tmp_path: Path) -> None:
    stand_in = job_stand_in("replay", tmp_path, StandInOptions(epochs=1, rank=4, batch_size=2))
    command = (*SFT, "--epochs", "15", "--rank", "4", "--gradient-accumulation", "3")
    prepared = prepare(stand_in, *command)
    assert value_of(prepared.command, "--epochs") == "1"
    assert "epochs: 1 instead of 15" in prepared.differences
    assert "gradient accumulation: 1 instead of 3" in prepared.differences
    assert not [line for line in prepared.differences if line.startswith("rank")]
    assert set(prepared.instead) == {"sft.py"}


def test_an_unknown_stand_in_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no stand-in huge"):
        job_stand_in("huge", tmp_path, StandInOptions())
    assert {"tiny", "replay"} <= set(JOB_STAND_INS)


def simple(rows: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {n}", "completion": f"answer {n % 3}"} for n in range(rows)]


def test_replay_leaves_a_canned_adapter_and_canned_answers_with_the_real_keeper(
    stage: Stage, tmp_path: Path
) -> None:
    stand_in = job_stand_in("replay", tmp_path / "stand-ins", StandInOptions())
    with stage.serving(stand_in=stand_in) as api:
        mount, token = staged(api, simple(6)), {"HF_TOKEN": "hf_alice"}
        base = ["--base-model", "google/gemma-3-270m"]
        rows = ["--train", "/o/staged/rows.jsonl", "--epochs", "2", "--batch-size", "3"]
        tuned = submit(api, kept("p-1", "sft.py", *base, *rows), volumes=[mount], secrets=token)
        ended = stage.ended(tuned)
        assert ended.stage is JobStage.COMPLETED, stage.log(tuned)
        assert "nothing was trained" in ended.differences[0]
        files = api.list_repo_files("alice/m-candidates", revision="r-1")
        assert {"p-1/final/adapter_model.safetensors", "p-1/result.json"} <= set(files)
        assert any('"canned"' in line for line in stage.log(tuned))
        ask = ["generate.py", *base, "--rows", "/o/staged/rows.jsonl", "--limit", "4"]
        asked = submit(api, kept("p-2", *ask), volumes=[mount], secrets=token)
        assert stage.ended(asked).stage is JobStage.COMPLETED, stage.log(asked)
        answers = Path(
            api.hf_hub_download("alice/m-candidates", "p-2/predictions.jsonl", revision="r-1")
        )
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
        assert [line["expected"] for line in lines] == [f"answer {n % 3}" for n in range(4)]
        assert len(lines[0]["prompt_sha256"]) == 64


@pytest.mark.slow
@pytest.mark.training
def test_tiny_really_trains_and_answers_with_the_package_s_own_scripts(
    stage: Stage, tmp_path: Path
) -> None:
    options = StandInOptions(epochs=1, answers="real")
    stand_in = job_stand_in("tiny", tmp_path / "stand-ins", options)
    with stage.serving(stand_in=stand_in) as api:
        mount, token = staged(api, simple(12)), {"HF_TOKEN": "hf_alice"}
        base = ["--base-model", "google/gemma-3-270m", "--base-revision", "abc"]
        rows = ["--train", "/o/staged/rows.jsonl", "--epochs", "15", "--quantization", "4bit"]
        tuned = submit(api, kept("p-1", "sft.py", *base, *rows), volumes=[mount], secrets=token)
        ended = stage.face.wait_until_ended(tuned, timeout_s=300)
        assert ended.stage is JobStage.COMPLETED, stage.log(tuned)
        assert "quantization: none instead of 4bit" in ended.differences
        assert "epochs: 1 instead of 15" in ended.differences
        final = {
            name: Path(
                api.hf_hub_download("alice/m-candidates", f"p-1/final/{name}", revision="r-1")
            )
            for name in ("adapter_model.safetensors", "adapter_config.json")
        }
        assert read_header(final["adapter_model.safetensors"]).tensors
        config = json.loads(final["adapter_config.json"].read_text())
        assert config["base_model_name_or_path"] == "google/gemma-3-270m"
        adapter = Volume(
            type="model", source="alice/m-candidates", revision="r-1", mount_path="/adapter"
        )
        ask = ["generate.py", *base, "--adapter", "/adapter/p-1/final", "--limit", "2"]
        ask += ["--rows", "/o/staged/rows.jsonl", "--max-new-tokens", "4"]
        asked = submit(api, kept("p-2", *ask), volumes=[mount, adapter], secrets=token)
        answered = stage.face.wait_until_ended(asked, timeout_s=300)
        assert answered.stage is JobStage.COMPLETED, stage.log(asked)
        assert value_of(answered.command, "--base-model") == value_of(ended.command, "--base-model")
        assert "p-2/predictions.jsonl" in api.list_repo_files("alice/m-candidates", revision="r-1")


def test_a_training_on_fewer_rows_says_how_many(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"n": {number}}}\n' for number in range(5)), encoding="utf-8")
    command = ("uv", "run", "sft.py", "--train", str(rows))
    changed, told = with_fewer_rows(command, Path, 2, tmp_path / "fewer")
    assert told == ["training rows: the first 2 of 5"]
    assert Path(changed[-1]).read_text(encoding="utf-8") == '{"n": 0}\n{"n": 1}\n'
    evaluated = (*command, "--validation", str(rows), "--probe", str(rows))
    changed, told = with_fewer_rows(evaluated, Path, 4, tmp_path / "fewer")
    assert told[1:] == ["validation rows: the first 1 of 5", "probe rows: the first 1 of 5"]
    assert Path(changed[-1]).read_text(encoding="utf-8") == '{"n": 0}\n'
    assert with_fewer_rows(command, Path, 5, tmp_path / "fewer") == (command, [])
    assert with_fewer_rows(command[:3], Path, 2, tmp_path / "fewer") == (command[:3], [])


@pytest.mark.parametrize("name", ["tiny", "replay"])
def test_an_export_that_cannot_be_made_here_leaves_a_file_that_says_so(
    tmp_path: Path, name: str
) -> None:
    stand_in = job_stand_in(name, tmp_path, StandInOptions())
    prepared = prepare(stand_in, "uv", "run", "export_litertlm.py", "--model", "/o/merged")
    assert len(prepared.differences) == 1
    canned = prepared.instead["export_litertlm.py"]
    command = [sys.executable, str(canned), "--name", "me", "--output", str(tmp_path / "out")]
    subprocess.run([*command, "--kv-cache", "1024"], check=True)
    assert "Nothing was made" in (tmp_path / "out" / "me.litertlm").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "export.json").read_text())["canned"] is True


def test_what_a_stand_in_leaves_says_so_in_its_config(tmp_path: Path) -> None:
    script = tmp_path / "sft.py"
    script.write_text(
        "import pathlib, sys\n"
        "final = pathlib.Path(sys.argv[2]) / 'final'\n"
        "final.mkdir(parents=True)\n"
        "(final / 'adapter_config.json').write_text('{\"r\": 4}')\n"
    )
    orders = tmp_path / "orders.json"
    mark = {"name": "tiny", "for": "google/x", "note": "small"}
    orders.write_text(
        json.dumps({"instead": {}, "spoil": None, "told": "", "root": "", "mark": mark})
    )
    output = tmp_path / "out"
    shim = [sys.executable, str(Path(uv_shim.__file__)), str(orders)]
    subprocess.run([*shim, "run", str(script), "--output", str(output)], check=True)
    config = json.loads((output / "final" / "adapter_config.json").read_text())
    assert config == {"r": 4, STAND_IN: mark}
