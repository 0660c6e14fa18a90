"""The check between collecting and publishing: what passes, what is cleaned, what is refused."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import adapter
from orchestrator.adapter import (
    AdapterReport,
    ExpectedAdapter,
    check_adapter,
    is_publishable,
)
from orchestrator.catalog import LINEAR_LAYERS
from orchestrator.digests import sha256_file
from orchestrator.sandbox.standins.base import STAND_IN_KEY, StandInOptions, TrainingJob
from orchestrator.sandbox.standins.layout import CHECKPOINTS
from orchestrator.sandbox.standins.replay import ReplayStandIn

HUB_ID = "meta-llama/Llama-3.1-8B-Instruct"
EXPECTED = ExpectedAdapter(
    base_model="meta/llama3_1@llama-3.1-8b-instruct",
    hub_id=HUB_ID,
    accepted_names=("llama-3.1-8b",),
    rank=4,
    allowed_targets=LINEAR_LAYERS,
)
Tensors = dict[str, tuple[str, list[int], bytes]]


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """An adapter as it comes from the service."""
    train = tmp_path / "train.jsonl"
    train.write_text('{"prompt": "a", "completion": "b"}\n' * 4, encoding="utf-8")
    job = TrainingJob("1", EXPECTED.base_model, HUB_ID, train, train, 1, 1e-4, 4, 7)
    output = tmp_path / "output"
    output.mkdir()
    ReplayStandIn().train(job, output, options=StandInOptions(), cancelled=lambda: False)
    return output / CHECKPOINTS / "final"


def _check(collected: Path, expected: ExpectedAdapter = EXPECTED) -> tuple[AdapterReport, Path]:
    out = collected.parent.parent / "published"
    return check_adapter(collected, out, expected), out


def _problem(collected: Path, expected: ExpectedAdapter = EXPECTED) -> str:
    """The only problem; and nothing may be left to publish."""
    report, out = _check(collected, expected)
    assert len(report.problems) == 1, report.problems
    assert not out.exists()
    assert not report.files
    assert not list(out.parent.glob("published*"))
    return report.problems[0]


def _edit(file: Path, **changes: Any) -> None:
    value = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(value), encoding="utf-8")


def _config(collected: Path, **changes: Any) -> None:
    _edit(collected / "adapter_config.json", **changes)


def _write_tensors(file: Path, tensors: Tensors) -> None:
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        end = len(data) + len(values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += values
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _read_tensors(file: Path) -> Tensors:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    data = content[8 + size :]
    return {
        name: (one["dtype"], one["shape"], data[slice(*one["data_offsets"])])
        for name, one in header.items()
        if name != "__metadata__"
    }


def _change_tensors(collected: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = collected / "adapter_model.safetensors"
    _write_tensors(file, change(_read_tensors(file)))


Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Q_B = Q_A.replace("lora_A", "lora_B")


def test_a_sound_adapter_passes_and_its_files_are_the_ones_reported(collected: Path) -> None:
    report, out = _check(collected)
    assert report.problems == ()
    assert (report.kind, report.rank, report.alpha) == ("adapter", 4, 8)
    assert report.targets == tuple(sorted(LINEAR_LAYERS))
    assert report.base_model_found == HUB_ID
    names = ["adapter_config.json", "adapter_model.safetensors", "tokenizer_config.json"]
    assert [item.path for item in report.files] == names
    assert sorted(file.name for file in out.iterdir()) == names
    for item in report.files:
        assert item.sha256 == sha256_file(out / item.path)
        assert item.size_bytes == (out / item.path).stat().st_size
    weights = _read_tensors(out / "adapter_model.safetensors")
    assert report.parameter_count == sum(math.prod(shape) for _, shape, _ in weights.values())


def test_the_report_survives_json(collected: Path) -> None:
    report, _ = _check(collected)
    text = json.dumps(report.to_json())
    assert AdapterReport.model_validate_json(text) == report


def test_the_stand_in_of_a_rehearsal_stays_named(collected: Path) -> None:
    report, out = _check(collected)
    assert adapter.STAND_IN == STAND_IN_KEY
    assert report.stand_in is not None
    assert report.stand_in["name"] == "replay"
    assert report.stand_in["for"] == EXPECTED.base_model
    published = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    assert published["stand_in"] == report.stand_in


def test_what_was_collected_is_never_changed(collected: Path) -> None:
    before = {file.name: file.read_bytes() for file in collected.iterdir()}
    _check(collected)
    assert {file.name: file.read_bytes() for file in collected.iterdir()} == before


def test_internal_paths_are_scrubbed_and_recorded(collected: Path) -> None:
    _edit(
        collected / "tokenizer_config.json",
        name_or_path="gs://caip-tenant-0123/base",
        tokenizer_file="/home/trainer/tokenizer.json",
        nested={"where": "C:\\models\\x", "list": ["keep", "file:///etc/x"]},
        license_url="https://example.org/a/b",
        unk_token="/a/b",
        chat_template="/think/ {{ x }}",
    )
    report, out = _check(collected)
    assert report.problems == ()
    found = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert found == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "name_or_path": HUB_ID,
        "nested": {"list": ["keep"]},
        "license_url": "https://example.org/a/b",
        "unk_token": "/a/b",
        "chat_template": "/think/ {{ x }}",
    }
    assert sorted(report.scrubbed) == [
        "tokenizer_config.json: name_or_path",
        "tokenizer_config.json: nested.list[1]",
        "tokenizer_config.json: nested.where",
        "tokenizer_config.json: tokenizer_file",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/data/base",
        "/mnt/caip-tenant-77/base_model",
        "gs://bucket/base",
        "file:///base",
        "D:\\base\\model",
        "./base",
        "~/base",
        "\\\\host\\base",
    ],
)
def test_a_local_path_as_base_model_becomes_the_public_name(collected: Path, path: str) -> None:
    _config(collected, base_model_name_or_path=path)
    report, out = _check(collected)
    assert report.problems == ()
    assert report.base_model_found == path
    assert "adapter_config.json: base_model_name_or_path" in report.scrubbed
    published = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    assert published["base_model_name_or_path"] == HUB_ID


@pytest.mark.parametrize("name", [None, "", EXPECTED.base_model, "llama-3.1-8b", HUB_ID.lower()])
def test_the_services_name_of_the_base_model_becomes_the_public_name(
    collected: Path, name: str | None
) -> None:
    _config(collected, base_model_name_or_path=name)
    report, out = _check(collected)
    assert report.problems == ()
    assert "adapter_config.json: base_model_name_or_path" in report.scrubbed
    published = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    assert published["base_model_name_or_path"] == HUB_ID


def test_another_base_model_is_refused(collected: Path) -> None:
    _config(collected, base_model_name_or_path="Qwen/Qwen3-32B")
    problem = _problem(collected)
    assert problem.startswith("adapter_config.json: base_model_name_or_path is 'Qwen/Qwen3-32B'")
    assert HUB_ID in problem


def test_an_internal_folder_in_a_text_that_cannot_be_cleaned_is_refused(collected: Path) -> None:
    (collected / "chat_template.jinja").write_text("{# caip-tenant-1 #}", encoding="utf-8")
    assert _problem(collected).startswith("chat_template.jinja: names an internal folder")


def test_a_vocabulary_is_copied_byte_for_byte(collected: Path) -> None:
    content = b'{"model": {"vocab": {"/usr/bin": 1, "gs://x": 2}}}'
    (collected / "tokenizer.json").write_bytes(content)
    report, out = _check(collected)
    assert report.problems == ()
    assert (out / "tokenizer.json").read_bytes() == content


def test_only_known_files_go_on_and_no_pickle_does(collected: Path) -> None:
    unwanted = ["README.md", "training_args.bin", "optimizer.pt", "rng_state.pth", "run.py"]
    for name in unwanted:
        (collected / name).write_bytes(b"x")
    (collected / "spiece.model").write_bytes(b"\x80\x04pickle")
    (collected / "tokenizer.model").write_bytes(b"\x0a\x0esentencepiece")
    (collected / "sub").mkdir()
    (collected / "sub" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (collected / "vocab.txt").symlink_to(collected / "README.md")
    report, out = _check(collected)
    assert report.problems == ()
    assert set(report.dropped) == {
        *unwanted,
        "spiece.model",
        "sub/tokenizer.json",
        "vocab.txt",
        "trainer_state.json",
        "eval_results.json",
    }
    assert (out / "tokenizer.model").exists()
    assert not set(report.dropped) & {file.name for file in out.iterdir()}


def test_names_that_the_check_lets_through_are_publishable_and_others_are_not() -> None:
    assert all(map(is_publishable, ["adapter_config.json", "model-00001-of-00002.safetensors"]))
    assert not any(map(is_publishable, ["README.md", ".gitattributes", "adapter_model.bin"]))


def test_an_adapter_that_is_only_a_pickle_is_refused(collected: Path) -> None:
    (collected / "adapter_model.safetensors").rename(collected / "adapter_model.bin")
    problem = _problem(collected)
    assert problem.startswith("adapter_model.bin: is a pickle")


def test_every_missing_part_is_a_problem(collected: Path) -> None:
    for file in collected.iterdir():
        file.unlink()
    report, _ = _check(collected)
    assert [problem.split(":")[0] for problem in report.problems] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_cut_file_is_refused(collected: Path) -> None:
    file = collected / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "cut short" in _problem(collected)


def test_a_config_that_is_no_json_is_refused(collected: Path) -> None:
    (collected / "adapter_config.json").write_text("{", encoding="utf-8")
    assert _problem(collected).startswith("adapter_config.json: is not valid JSON")


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"r": None},
        {"r": True},
        {"lora_alpha": "8"},
        {"target_modules": []},
        {"rank_pattern": {"q_proj": "4"}},
        {"modules_to_save": "lm_head"},
    ],
)
def test_a_config_that_cannot_be_checked_is_refused(
    collected: Path, changes: dict[str, Any]
) -> None:
    _config(collected, **changes)
    assert _problem(collected).startswith("adapter_config.json: ")


def test_another_rank_than_planned_is_refused(collected: Path) -> None:
    problem = _problem(collected, replace(EXPECTED, rank=16))
    assert "rank 4 instead of the planned 16" in problem
    report, _ = _check(collected, replace(EXPECTED, rank=None))
    assert report.problems == ()


def test_a_rank_that_only_some_modules_have_is_refused(collected: Path) -> None:
    _config(collected, rank_pattern={"q_proj": 8})
    assert "rank 4, 8 instead of the planned 4" in _problem(collected)


def test_a_config_whose_rank_is_not_that_of_the_tensors_is_refused(collected: Path) -> None:
    _config(collected, r=8)
    problem = _problem(collected, replace(EXPECTED, rank=8))
    assert "shapes do not fit rank 8" in problem


def test_a_missing_half_of_a_pair_is_refused(collected: Path) -> None:
    def without(tensors: Tensors) -> Tensors:
        del tensors[Q_B]
        return tensors

    _change_tensors(collected, without)
    assert "LoRA A or B is missing for model.layers.0.self_attn.q_proj" in _problem(collected)


def test_a_pair_that_does_not_multiply_is_refused(collected: Path) -> None:
    def transposed(tensors: Tensors) -> Tensors:
        dtype, shape, data = tensors[Q_B]
        return tensors | {Q_B: (dtype, shape[::-1], data)}

    _change_tensors(collected, transposed)
    assert "model.layers.0.self_attn.q_proj (A [4, 64], B [4, 64])" in _problem(collected)


def test_targets_without_tensors_are_refused(collected: Path) -> None:
    def without(tensors: Tensors) -> Tensors:
        return {name: one for name, one in tensors.items() if "q_proj" not in name}

    _change_tensors(collected, without)
    assert "has no tensors for q_proj" in _problem(collected)


def test_tensors_without_a_target_are_refused(collected: Path) -> None:
    _config(collected, target_modules=[name for name in LINEAR_LAYERS if name != "up_proj"])
    assert "which adapter_config.json does not target" in _problem(collected)


def test_a_target_may_be_an_expression(collected: Path) -> None:
    _config(collected, target_modules=r".*_proj")
    assert _check(collected)[0].problems == ()
    _config(collected, target_modules="([")
    assert "no valid expression" in _problem(collected)


def test_targets_that_the_plan_does_not_allow_are_refused(collected: Path) -> None:
    allowed = tuple(name for name in LINEAR_LAYERS if name != "down_proj")
    problem = _problem(collected, replace(EXPECTED, allowed_targets=allowed))
    assert "adapts down_proj, which the plan does not allow" in problem
    report, _ = _check(collected, replace(EXPECTED, allowed_targets=None))
    assert report.problems == ()


def test_a_tensor_that_is_no_part_of_lora_is_refused_unless_the_config_names_it(
    collected: Path,
) -> None:
    name = "base_model.model.lm_head.weight"
    _change_tensors(collected, lambda tensors: tensors | {name: ("F32", [1], struct.pack("<f", 1))})
    assert f"{name} is no part" in _problem(collected)
    _config(collected, modules_to_save=["lm_head"])
    assert _check(collected)[0].problems == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_by_the_name_of_its_tensor(
    collected: Path, bad: float
) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        dtype, shape, data = tensors[Q_A]
        return tensors | {Q_A: (dtype, shape, data[:-4] + struct.pack("<f", bad))}

    _change_tensors(collected, spoil)
    problem = _problem(collected)
    assert "NaN or infinity" in problem
    assert Q_A in problem


def test_an_adapter_that_learned_nothing_is_refused(collected: Path) -> None:
    def untrained(tensors: Tensors) -> Tensors:
        minus_zero = struct.pack("<f", -0.0)
        return {
            name: (dtype, shape, minus_zero * (len(data) // 4) if "lora_B" in name else data)
            for name, (dtype, shape, data) in tensors.items()
        }

    _change_tensors(collected, untrained)
    assert "nothing was learned" in _problem(collected)


def test_several_problems_are_all_reported(collected: Path) -> None:
    _config(collected, base_model_name_or_path="Qwen/Qwen3-32B", r=2)
    report, _ = _check(collected)
    assert len(report.problems) == 3


def test_a_second_check_replaces_the_folder_of_the_first(collected: Path) -> None:
    _, out = _check(collected)
    (out / "stale.json").write_text("{}", encoding="utf-8")
    first = sha256_file(out / "tokenizer_config.json")
    _edit(collected / "tokenizer_config.json", model_max_length=7)
    _, out = _check(collected)
    assert not (out / "stale.json").exists()
    assert sha256_file(out / "tokenizer_config.json") != first


def test_a_check_that_fails_takes_the_folder_of_an_earlier_one_away(collected: Path) -> None:
    _, out = _check(collected)
    assert out.exists()
    _config(collected, base_model_name_or_path="Qwen/Qwen3-32B")
    _problem(collected)


# --- Merged models ---------------------------------------------------------------------------


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A merged model in two files."""
    folder = tmp_path / "output" / "checkpoints" / "final"
    folder.mkdir(parents=True)
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for tensor, name in shards.items():
        _write_tensors(folder / name, {tensor: ("F32", [2], struct.pack("<2f", 1, 2))})
    index = {"metadata": {}, "weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config = {"model_type": "llama", "_name_or_path": "/mnt/base"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    return folder


def test_a_merged_model_passes_whole(merged: Path) -> None:
    report, out = _check(merged)
    assert report.problems == ()
    assert report.kind == "merged"
    assert report.parameter_count == 4
    assert report.dropped == ("pytorch_model.bin",)
    assert report.scrubbed == ("config.json: _name_or_path",)
    assert report.base_model_found == "/mnt/base"
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["_name_or_path"] == HUB_ID


def test_a_merged_model_without_one_of_its_files_is_refused(merged: Path) -> None:
    (merged / "model-00002-of-00002.safetensors").unlink()
    assert "does not agree with the weights on b" in _problem(merged)


def test_several_weights_without_an_index_are_refused(merged: Path) -> None:
    (merged / "model.safetensors.index.json").unlink()
    assert "is missing beside several weights" in _problem(merged)


def test_a_merged_model_without_its_config_is_refused(merged: Path) -> None:
    (merged / "config.json").unlink()
    assert _problem(merged).startswith("config.json: is missing")


def test_an_adapter_beside_a_merged_model_is_the_one_that_is_published(
    collected: Path, merged: Path
) -> None:
    for file in merged.iterdir():
        file.rename(collected / file.name)
    report, out = _check(collected)
    assert report.kind == "adapter"
    assert "config.json" in report.dropped
    assert not list(out.glob("model*"))
