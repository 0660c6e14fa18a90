"""The catalog holds what the service's documentation says, each entry with source and date."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import orchestrator.catalog
from orchestrator.catalog import LINEAR_LAYERS, Model, canonical_model_id, load_catalog

LLAMA = "meta/llama3_1@llama-3.1-8b-instruct"
MODELS = sorted(load_catalog().models)


def model(name: str) -> Model:
    found = load_catalog().find(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_names_its_source_and_its_date(name: str) -> None:
    entry = model(name)
    assert entry.id == name
    assert len(entry.source) > 20
    assert date(2026, 1, 1) < entry.checked


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_is_whole(name: str) -> None:
    entry = model(name)
    assert entry.modes
    if entry.service == "vertex":
        assert entry.usd_per_million_tokens is not None
        assert 0 < entry.usd_per_million_tokens < 20
    assert 0.1 < entry.tokens_per_character < 1
    assert "/" in entry.hub_id
    if "peft" in entry.modes:
        if entry.service == "vertex":
            assert entry.ranks == (1, 4, 8, 16, 32)
        assert entry.baseline_rank in entry.ranks
        assert entry.baseline_learning_rate is not None
        assert 0 < entry.baseline_learning_rate < 1e-2
    else:
        assert entry.ranks == ()
        assert entry.baseline_rank is None


def test_prices_and_baselines_are_those_of_the_source() -> None:
    llama, scout = model(LLAMA), model("meta/llama4@llama-4-scout-17b-16e-instruct")
    assert (llama.baseline_learning_rate, llama.baseline_rank) == (2e-4, 16)
    assert (llama.usd_per_million_tokens, llama.tokens_per_character) == (0.67, 0.317)
    assert (scout.baseline_learning_rate, scout.max_row_tokens) == (2e-5, 2048)
    assert model("google/gemma3@gemma-3-27b-it").baseline_rank == 32
    assert model("meta/llama3-3@llama-3.3-70b-instruct").baseline_learning_rate == 5e-5
    assert model("qwen/qwen3@qwen3-32b").usd_per_million_tokens == 6.57


def test_the_limits_of_the_service_are_those_of_its_documentation() -> None:
    limits = load_catalog().vertex
    assert limits.max_validation_bytes_ratio == 0.25
    assert limits.max_validation_rows == 5000
    assert {"global", "us-central1", "europe-west4"} <= set(limits.locations)
    assert limits.source
    assert limits.checked >= date(2026, 9, 25)


def test_the_longer_spelling_finds_the_same_model() -> None:
    assert model("publishers/meta/models/llama3_1@llama-3.1-8b-instruct") is model(LLAMA)
    assert canonical_model_id("publishers/google/models/gemma3@gemma-3-27b-it") == (
        "google/gemma3@gemma-3-27b-it"
    )


@pytest.mark.parametrize("name", ["", "llama", "publishers/meta/llama3_1@x", "a/b/c/d"])
def test_an_unknown_spelling_finds_nothing(name: str) -> None:
    assert load_catalog().find(name) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("meta/llama3_1@llama-3.1-8b-instuct", LLAMA),
        ("meta/llama-3.1-8b-instruct", LLAMA),
        ("qwen/qwen3@qwen3-32", "qwen/qwen3@qwen3-32b"),
        ("google/gemma-3-27b-it", "google/gemma3@gemma-3-27b-it"),
    ],
)
def test_the_nearest_model_is_named(written: str, meant: str) -> None:
    assert load_catalog().nearest(written) == meant


def test_the_adapter_of_a_model_has_the_parameters_that_peft_makes() -> None:
    """By hand: every linear layer of width in × out gets matrices in × rank and rank × out."""
    shape = model(LLAMA).shape
    assert shape is not None
    layer = {
        "q_proj": (4096, 4096),
        "k_proj": (4096, 1024),
        "v_proj": (4096, 1024),
        "o_proj": (4096, 4096),
        "gate_proj": (4096, 14336),
        "up_proj": (4096, 14336),
        "down_proj": (14336, 4096),
    }
    assert set(layer) == set(LINEAR_LAYERS)
    expected = 32 * sum(inward * 16 + 16 * outward for inward, outward in layer.values())
    assert shape.adapter_parameters(16) == expected == 41_943_040
    assert shape.adapter_parameters(1) * 16 == expected


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        ("max_row_tokens = 8192", 'max_row_tokens = "8192k"'),
        ("usd_per_million_tokens = 0.67\n", ""),
        ('licence = "llama3.1"', 'license = "llama3.1"'),
        ('modes = ["peft", "full"]', 'modes = ["lora"]'),
    ],
)
def test_an_entry_with_a_wrong_or_missing_field_is_refused(
    tmp_path: Path, found: str, replacement: str
) -> None:
    text = Path(orchestrator.catalog.__file__).with_name("catalog.toml").read_text("utf-8")
    assert found in text
    file = tmp_path / "catalog.toml"
    file.write_text(text.replace(found, replacement, 1), encoding="utf-8")
    with pytest.raises(ValueError, match="validation error"):
        load_catalog(file)
