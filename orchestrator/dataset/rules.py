"""What rows are checked against, resolved from spec, catalog and files; goes to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.dataset.example import Tool
from orchestrator.spec import DataBlock, ExportBlock

#: The kinds of checks in the order in which people want to know them.
KINDS = ("form", "length", "template", "duplicates", "leaks", "service", "privacy", "balance")

#: What a file of rows is for, where the spec names files for the splits.
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class RowsFile:
    """A file with rows on this machine, and how messages call it."""

    path: Path
    name: str
    split: SplitName | None = None


@dataclass(frozen=True)
class TokenRules:
    """How tokens are counted.

    `tokenizer` is a folder with the model's `tokenizer.json` and `tokenizer_config.json`, None if
    it is not on this machine: then tokens are estimated. `template` is the file of a chat template
    that goes before the tokenizer's own, `template_source` says whose template it is
    (e.g. "the model's own", "as TRL 1.16 ships it", "this project's fixture"). `estimate_error` is
    how many fewer and how many more tokens rows had than estimated when that was measured (0.2 and
    0.4: from a fifth fewer to two fifths more), None where nobody measured it. `tokenizer_source`
    says where the tokenizer is from, and `tokenizer_missing` why there is none and how to get it.
    """

    model: str
    tokenizer: Path | None
    template: Path | None
    template_source: str
    tokens_per_character: float
    estimate_source: str
    estimate_error: tuple[float, float] | None = None
    tokenizer_source: str = ""
    tokenizer_missing: str = ""


@dataclass(frozen=True)
class Rules:
    """All that the checks need to know. Frozen and picklable.

    `spec_folder` is where relative paths of the spec start. `max_length` is the most tokens of a
    row: of the spec, or of the service for this model; `max_length_source` says which.
    """

    data: DataBlock
    spec_folder: Path
    tools: tuple[Tool, ...]
    tokens: TokenRules
    service: str
    max_length: int | None
    max_length_source: str
    too_long: Literal["error", "drop", "cut"]
    export: ExportBlock | None
    seed: int
