"""The catalog's part on Hugging Face Jobs: machines, decoders, and what is assumed of speed."""

from __future__ import annotations

import difflib
from datetime import date
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: The linear layers of a decoder block that LoRA adapts, as PEFT and the models name them.
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Accelerator(_Entry):
    """One card. The rates are the vendor's for dense matrices, in 10^12 operations a second.

    `half_tflops` is that of bf16 where `bf16`, else that of fp16; `fp32_tflops` is plain fp32.
    """

    vram_gb: float
    bf16: bool
    half_tflops: float
    fp32_tflops: float
    source: str
    checked: date


class Flavor(_Entry):
    """A machine that hf-jobs rents, by its name there.

    `accelerator` names one in the catalog, None on machines that have processors only.
    """

    name: str
    accelerator: str | None = None
    count: int = 0
    vcpus: int
    ram_gb: float
    usd_per_hour: float


class DecoderShape(_Entry):
    """The widths of a dense decoder, from its config.json; enough to count its parameters.

    `block_norms` are vectors of hidden width in each block, `head_norm` the width of those on
    queries and keys together. `parameters` is the count that the source states.
    """

    layers: int
    hidden: int
    intermediate: int
    query: int
    key_value: int
    vocabulary: int
    tied: bool
    block_norms: int = 2
    head_norm: int = 0
    family: str
    parameters: int
    source: str
    checked: date

    @model_validator(mode="after")
    def _counted(self) -> Self:
        counted = (
            self.layers * self.block_parameters
            + self.embedding_parameters * (1 if self.tied else 2)
            + self.hidden
        )
        if counted != self.parameters:
            raise ValueError(f"its widths make {counted} parameters, not {self.parameters}")
        return self

    @property
    def linear_widths(self) -> dict[str, tuple[int, int]]:
        """Inward and outward width of the linear layers of a block."""
        hidden, inner = self.hidden, self.intermediate
        widths = (
            (hidden, self.query),
            (hidden, self.key_value),
            (hidden, self.key_value),
            (self.query, hidden),
            (hidden, inner),
            (hidden, inner),
            (inner, hidden),
        )
        return dict(zip(LINEAR_LAYERS, widths, strict=True))

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of one block: what 4 bits can hold."""
        return sum(inward * outward for inward, outward in self.linear_widths.values())

    @property
    def block_parameters(self) -> int:
        """All weights of one block."""
        return self.linear_parameters + self.block_norms * self.hidden + self.head_norm

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding; as many again for the head, where they are not tied."""
        return self.vocabulary * self.hidden

    @property
    def multiplied_parameters(self) -> int:
        """Weights that every token is multiplied by: those of the blocks and of the head."""
        return self.layers * self.linear_parameters + self.embedding_parameters


class Range(_Entry):
    """An assumption as a range, with where it comes from."""

    low: float
    high: float
    source: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.low <= self.high:
            raise ValueError("a range goes from low to high, above zero")
        return self


class Assumptions(_Entry):
    """What nobody measured on the service's machines, and estimates of time rest on.

    Shares of the peak rate that a training reaches; milliseconds that the kernels of one block take
    at least, forward and backward; seconds until the training starts, without the weights; rates of
    downloads and uploads in MB/s; how much slower a base model in 4 bits is; GFLOP/s of a vCPU;
    seconds that a merge or an export computes for a GB of weights in 32 bits.
    """

    mfu: Range
    block_ms: Range
    token_ms_per_block: Range
    setup_s: Range
    download_mb_s: Range
    upload_mb_s: Range
    four_bit_slowdown: Range
    vcpu_gflops: Range
    merge_s_per_gb: Range
    export_s_per_gb: Range
    checked: date


class JobsCatalog(_Entry):
    """All that is known of hf-jobs, offline. Prices are US dollars an hour."""

    image: str
    prices_source: str
    prices_checked: date
    accelerators: dict[str, Accelerator]
    flavors: tuple[Flavor, ...]
    shapes: dict[str, DecoderShape] = Field(description="by the model's id on the Hub")
    assumed: Assumptions

    @model_validator(mode="after")
    def _known_accelerators(self) -> Self:
        for flavor in self.flavors:
            if flavor.accelerator is not None and flavor.accelerator not in self.accelerators:
                raise ValueError(f"{flavor.name}: unknown accelerator {flavor.accelerator}")
            if (flavor.accelerator is None) != (flavor.count == 0):
                raise ValueError(f"{flavor.name}: an accelerator and its count go together")
        return self

    def flavor(self, name: str) -> Flavor | None:
        """The flavor of this name."""
        return next((one for one in self.flavors if one.name == name), None)

    def nearest_flavor(self, name: str) -> str | None:
        """The flavor whose name looks most like `name`."""
        close = difflib.get_close_matches(name, [one.name for one in self.flavors], n=1, cutoff=0.4)
        return close[0] if close else None
