"""What is known of base models, prices and limits; each entry with its source and date."""

from __future__ import annotations

import difflib
import functools
import tomllib
from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from orchestrator.hardware.catalog import LINEAR_LAYERS as LINEAR_LAYERS
from orchestrator.hardware.catalog import JobsCatalog

Mode = Literal["peft", "full"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shape(_Entry):
    """The widths of a decoder, from the model's config.json."""

    hidden: int
    intermediate: int
    layers: int
    query: int
    key_value: int

    def adapter_parameters(self, rank: int) -> int:
        """LoRA parameters of this rank on all seven linear layers of every block."""
        widths = (
            (self.hidden, self.query),
            (self.hidden, self.key_value),
            (self.hidden, self.key_value),
            (self.query, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )
        return self.layers * rank * sum(inward + outward for inward, outward in widths)


class MeasuredError(_Entry):
    """How far `tokens_per_character` was off where the model's own vocabulary was at hand.

    From `fewer` to `more` tokens than estimated (0.2: by a fifth) had 95 of 100 rows of the data
    set with the worst ones; `data_sets` is how far off any set was as a whole.
    """

    fewer: float
    more: float
    data_sets: float
    source: str
    checked: date


class Model(_Entry):
    """A base model as a service offers it. Prices are US dollars.

    `usd_per_million_tokens` is None where time is paid for, not tokens. `chat_template` names the
    template that stands in for the model's own where its tokenizer cannot be had, `call_syntax` how
    the model writes calls of tools.
    `estimate_error` is None where nobody measured it.
    """

    id: str
    service: Literal["vertex", "hf-jobs"]
    hub_id: str
    licence: str
    modes: tuple[Mode, ...]
    ranks: tuple[int, ...] = ()
    max_row_tokens: int
    baseline_learning_rate: float | None = None
    baseline_rank: int | None = None
    baseline_epochs: int
    usd_per_million_tokens: float | None = None
    tokens_per_character: float
    estimate_error: MeasuredError | None = None
    chat_template: str | None = None
    call_syntax: Literal["functiongemma", "gemma4", "hermes", "llama", "openai"] | None = None
    shape: Shape | None = None
    source: str
    checked: date

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.service == "vertex" and self.usd_per_million_tokens is None:
            raise ValueError("a model of vertex has a price per million tokens")
        return self


class VertexLimits(_Entry):
    """Limits of the tuning service that do not depend on the model."""

    locations: tuple[str, ...]
    max_validation_bytes_ratio: float
    max_validation_rows: int
    source: str
    checked: date


class Catalog(_Entry):
    """All entries, by the service's id of the model."""

    vertex: VertexLimits
    jobs: JobsCatalog
    models: dict[str, Model]

    def find(self, name: str) -> Model | None:
        """The entry of a model under any spelling that the service accepts."""
        return self.models.get(canonical_model_id(name))

    def nearest(self, name: str) -> str | None:
        """The known model whose id looks most like `name`."""
        close = difflib.get_close_matches(name, self.models, n=1, cutoff=0.4)
        return close[0] if close else None


def canonical_model_id(name: str) -> str:
    """`publishers/meta/models/llama3_1@x` is the longer spelling of `meta/llama3_1@x`."""
    parts = name.split("/")
    if len(parts) == 4 and parts[0] == "publishers" and parts[2] == "models":
        return f"{parts[1]}/{parts[3]}"
    return name


@functools.cache
def load_catalog(file: Path | None = None) -> Catalog:
    """Read the catalog that travels with the package."""
    path = file or Path(__file__).with_name("catalog.toml")
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    for model_id, entry in raw["models"].items():
        entry["id"] = model_id
    # Strict models take tuples only from JSON; TOML has lists, and dates of its own.
    return Catalog.model_validate(raw, strict=False)
