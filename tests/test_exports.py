"""What an export needs is asked at plan time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from orchestrator import exports
from orchestrator.errors import InputError
from orchestrator.spec import ExportBlock
from orchestrator.training import export_gguf, export_litertlm

LINUX = "linux-x86_64"


def _problems(
    block: dict[str, Any], family: str | None, python: tuple[int, int] = (3, 12), at: str = LINUX
) -> list[str]:
    return exports.problems(ExportBlock(**block), family, python, at)


@pytest.mark.parametrize("form", ["gguf", "litertlm"])
@pytest.mark.parametrize("family", ["gemma3_text", "llama", "qwen3"])
def test_a_known_family_can_be_exported(form: str, family: str) -> None:
    assert _problems({"format": form}, family) == []


@pytest.mark.parametrize(
    ("block", "family", "python", "at", "words"),
    [
        ({"format": "litertlm"}, "llama4", (3, 12), LINUX, "the family llama4"),
        ({"format": "gguf"}, None, (3, 12), LINUX, "a model of this name"),
        ({"format": "gguf"}, "llama", (3, 10), LINUX, "no wheels for Python 3.10"),
        ({"format": "litertlm"}, "llama", (3, 15), LINUX, "Python 3.11 to 3.14"),
        ({"format": "litertlm"}, "llama", (3, 12), "linux-aarch64", "no wheel for linux-aarch64"),
        ({"format": "litertlm"}, "llama", (3, 12), "windows-amd64", "darwin-arm64"),
        ({"format": "gguf", "prefill": 256}, "llama", (3, 12), LINUX, "export.prefill"),
        (
            {"format": "litertlm", "prefill": 512, "kv_cache": 512},
            "llama",
            (3, 12),
            LINUX,
            "export.prefill 512: must be smaller than export.kv_cache 512",
        ),
        ({"format": "litertlm", "prefill": 1024}, "llama", (3, 12), LINUX, "kv_cache 1,024"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    block: dict[str, Any], family: str | None, python: tuple[int, int], at: str, words: str
) -> None:
    (problem,) = _problems(block, family, python, at)
    assert words in problem


def test_gguf_asks_for_no_platform() -> None:
    assert _problems({"format": "gguf"}, "llama", at="windows-amd64") == []


def test_all_problems_are_told_at_once() -> None:
    block = {"format": "litertlm", "prefill": 64, "kv_cache": 32}
    assert len(_problems(block, "llama4", (3, 9), "linux-aarch64")) == 4


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("google/functiongemma-270m-it", "gemma3_text"),
        ("google/gemma-3-27b-it", "gemma3"),
        ("google/gemma-3-1b-it", "gemma3_text"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4"),
        ("Qwen/Qwen3-32B", "qwen3"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama"),
        ("people/unheard-of", None),
    ],
)
def test_a_family_is_known_by_the_name_of_the_model(model: str, family: str | None) -> None:
    assert exports.family(model) == family


@pytest.mark.parametrize("form", ["gguf", "litertlm"])
def test_the_scripts_take_the_arguments_that_a_spec_makes(form: str) -> None:
    parse = {"gguf": export_gguf, "litertlm": export_litertlm}[form].parse_arguments
    where = ["--model", "m", "--output", "o"]
    block: dict[str, Any] = {"format": form, "kv_cache": 1024}
    for more in ({}, {"prefill": 128} if form == "litertlm" else {"quantization": "f16"}):
        arguments = parse([*where, *exports.script_arguments(ExportBlock(**block, **more))])
        length = arguments.context if form == "gguf" else arguments.kv_cache
        assert length == 1024
        if form == "gguf":
            assert arguments.outtype == (more.get("quantization") or "q8_0")
        else:
            assert arguments.prefill == [more.get("prefill") or 256]
            assert arguments.quantization == "dynamic_int8"


@pytest.mark.parametrize("script", [*exports.SCRIPTS.values(), "merge.py"])
def test_the_environment_of_a_script_is_pinned_and_fits_this_python(script: str) -> None:
    found = exports.environment(script)
    assert SpecifierSet(found.requires_python).contains(".".join(map(str, sys.version_info[:3])))
    pins = [Requirement(one) for one in found.requirements]
    assert all(spec.operator == "==" for pin in pins for spec in pin.specifier)
    assert {"torch", "transformers"} <= {pin.name for pin in pins}


def test_a_script_without_a_block_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("print()\n")
    with pytest.raises(InputError, match="has no dependency block"):
        exports.environment("bare.py", tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        exports.environment("absent.py", tmp_path)
