"""The collector finds the adapter in every layout that was seen, and trusts no object name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.collector import best_checkpoint, collect
from orchestrator.ledger import Metric
from orchestrator.stores.base import Progress, Put, StoredObject

OUT = "gs://bucket/outputs/run-1"
STATE = json.dumps(
    {
        "log_history": [
            {"step": 1, "epoch": 0.5, "loss": 3.0, "learning_rate": 1e-4},
            {"step": 2, "epoch": 1.0, "loss": 2.0},
            {"step": 2, "epoch": 1.0, "eval_loss": 2.5},
            {"step": 3, "loss": float("nan")},
            {"train_runtime": 1.0},
        ]
    }
)


class MemoryStore:
    """Objects in memory, by URI."""

    def __init__(self, **objects: str) -> None:
        self.objects = {f"{OUT}/{name}": text.encode() for name, text in objects.items()}

    def add(self, name: str, text: str = "x") -> None:
        self.objects[f"{OUT}/{name}"] = text.encode()

    def check_writable(self, uri: str) -> None:
        raise NotImplementedError

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:
        raise NotImplementedError

    def pin(self, uri: str) -> str:
        return uri

    def stat(self, uri: str) -> StoredObject | None:
        raise NotImplementedError

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        file.write_bytes(self.objects[stored.uri])

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        raise NotImplementedError

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        raise NotImplementedError

    def delete(self, stored: StoredObject) -> bool:
        raise NotImplementedError

    def list(self, prefix: str) -> list[StoredObject]:
        found = sorted(uri for uri in self.objects if uri.startswith(prefix))
        return [StoredObject(uri, len(self.objects[uri]), "", 1) for uri in found]


def adapter_at(folder: str) -> MemoryStore:
    store = MemoryStore()
    store.add(f"{folder}/adapter_model.safetensors", "weights")
    store.add(f"{folder}/adapter_config.json", "{}")
    return store


@pytest.mark.parametrize(
    "folder",
    [
        "postprocess/node-0/checkpoints/final",
        "postprocess/node-0/checkpoints/final/checkpoint-final",
        "postprocess/node-0/checkpoints/final/adapter",
        "final_output",
        "postprocess/node-0/checkpoints/checkpoint-9",
    ],
)
def test_the_adapter_is_found_in_every_layout(folder: str, tmp_path: Path) -> None:
    found = collect(adapter_at(folder), OUT, tmp_path / "collected")
    assert found is not None
    assert found.source_uri == f"{OUT}/{folder}/"
    assert [item.name for item in found.artifacts] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert (tmp_path / "collected" / "adapter_model.safetensors").read_text() == "weights"


def test_the_final_state_wins_over_checkpoints_and_a_later_checkpoint_over_an_earlier() -> None:
    names = [f"c/checkpoint-{number}/adapter_model.safetensors" for number in (9, 100, 20)]
    assert best_checkpoint(names) == "c/checkpoint-100/"
    assert best_checkpoint([*names, "c/final/adapter_model.safetensors"]) == "c/final/"


def test_an_adapter_wins_over_merged_weights() -> None:
    names = ["c/final/model-00001-of-00002.safetensors", "c/adapter/adapter_model.safetensors"]
    assert best_checkpoint(names) == "c/adapter/"
    assert best_checkpoint(names[:1]) == "c/final/"


def test_an_output_without_weights_is_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    store.add("executor/node-0/stdout", "training went well")
    assert collect(store, OUT, tmp_path / "collected") is None
    assert list(tmp_path.iterdir()) == []


def test_another_run_whose_name_continues_ours_is_not_taken(tmp_path: Path) -> None:
    store = MemoryStore()
    store.objects[f"{OUT}0/final/adapter_model.safetensors"] = b"theirs"
    assert collect(store, OUT, tmp_path / "collected") is None


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "..",
        "a//b",
        "/etc/passwd",
        "back\\slash",
        "c:drive",
        "nul",
        "NUL.txt",
        "dot.",
        "a\x00b",
        "line\nbreak",
        "x" * 201,
    ],
)
def test_an_odd_object_name_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    store = adapter_at("final")
    store.add(f"final/{name}")
    found = collect(store, OUT, tmp_path / "in" / "collected")
    assert found is not None
    assert found.ignored == (f"final/{name}",)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_names_that_differ_in_case_alone_do_not_overwrite_each_other(tmp_path: Path) -> None:
    store = adapter_at("final")
    store.add("final/Adapter_Config.json", "other")
    found = collect(store, OUT, tmp_path / "collected")
    assert found is not None
    assert len(found.ignored) == 1
    assert len(found.artifacts) == 2


def test_metrics_are_found_beside_the_weights_or_nearest_to_them(tmp_path: Path) -> None:
    store = adapter_at("c/final/adapter")
    store.add("c/checkpoint-1/trainer_state.json", '{"log_history": []}')
    store.add("c/final/trainer_state.json", STATE)
    store.add("c/eval_results.json", '{"eval_loss": 2.5, "name": "text", "bad": NaN}')
    found = collect(store, OUT, tmp_path / "collected")
    assert found is not None
    assert set(found.metrics) == {
        Metric("loss", 1, 3.0, 0.5),
        Metric("loss", 2, 2.0, 1.0),
        Metric("learning_rate", 1, 1e-4, 0.5),
        Metric("eval_loss", 2, 2.5, 1.0),
    }
    assert found.summary == {"eval_loss": 2.5}


def test_the_versions_of_what_trained_are_read_and_nothing_else_beside_them(tmp_path: Path) -> None:
    store = adapter_at("final")
    told = {
        "torch": "2.13.0+cu130",
        "<b>": "1",
        "trl": "see https://x",
        "peft": 3,
        "python": "3.12.1",
    }
    store.add("final/libraries.json", json.dumps(told))
    found = collect(store, OUT, tmp_path / "collected")
    assert found is not None
    assert found.libraries == {"torch": "2.13.0+cu130", "python": "3.12.1"}
    store.add("final/libraries.json", "[")
    found = collect(store, OUT, tmp_path / "collected")
    assert found is not None
    assert found.libraries == {}


def test_broken_metrics_are_named_and_do_not_hold_the_adapter_back(tmp_path: Path) -> None:
    store = adapter_at("final")
    store.add("final/trainer_state.json", '{"log_history": [')
    store.add("final/eval_results.json", '{"eval_loss": 2.5}')
    found = collect(store, OUT, tmp_path / "collected")
    assert found is not None
    assert found.ignored == ("trainer_state.json (not JSON)",)
    assert found.metrics == ()
    assert found.summary == {"eval_loss": 2.5}
    assert (tmp_path / "collected" / "adapter_model.safetensors").exists()


def test_collecting_again_replaces_what_an_interrupted_pass_left(tmp_path: Path) -> None:
    folder = tmp_path / "collected"
    for old in (folder, tmp_path / "collected.partial"):
        old.mkdir()
        (old / "stale").write_text("x")
    assert collect(adapter_at("final"), OUT, folder) is not None
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["collected"]
