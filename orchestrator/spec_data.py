"""The part of a spec that says which rows there are, what they mean, and how they are split."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Block(BaseModel):
    """A mapping in a spec: no key that nobody knows, no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SplitFilesBlock(Block):
    """A file for each split, where somebody has split the rows before."""

    train: str = Field(description="File with the rows to train on.", examples=["train.jsonl"])
    validation: str | None = Field(
        None, description="File with the validation rows.", examples=["validation.jsonl"]
    )
    test: str | None = Field(
        None, description="File with the rows that are kept back.", examples=["test.jsonl"]
    )


class SplitBlock(Block):
    """Shares of the rows (they add up to 1), numbers of rows, or a file for each split."""

    train: Annotated[Share, Field(gt=0)] = Field(
        0.85,
        description="What the model is trained on: a share of the rows, or a number of them.",
        examples=[0.85, 9000],
    )
    validation: Share = Field(
        0.10,
        description="What shows during training whether the model overfits. Vertex takes a "
        "validation file of at most a quarter of the training file, in bytes.",
        examples=[0.10, 1000],
    )
    test: Share = Field(
        0.05,
        description="What is kept back from the training; an evaluation has it answered.",
        examples=[0.05, 0],
    )
    stratify_by: str | None = Field(
        None,
        description="Field of the rows whose values are spread evenly over the splits.",
        examples=["agent_name"],
    )
    files: SplitFilesBlock | None = Field(
        None, description="A file for each split, in place of shares and of `data.path`."
    )

    @property
    def counts(self) -> bool:
        """Whether the three are numbers of rows; otherwise they are shares."""
        return self.train + self.validation + self.test > 1 + 1e-9

    @model_validator(mode="after")
    def _whole(self) -> Self:
        parts = (self.train, self.validation, self.test)
        given = self.model_fields_set & {"train", "validation", "test"}
        if self.files is not None:
            if given or self.stratify_by is not None:
                raise ValueError("give shares, or `files:`, not both")
            return self
        if all(part == int(part) for part in parts) and sum(parts) > 1:
            return self
        if not math.isclose(sum(parts), 1.0, abs_tol=1e-9):
            raise ValueError(
                f"train, validation and test add up to {sum(parts):g}: shares add up to 1 (write "
                "0.85 for 85 %), and numbers of rows are whole (give all three)"
            )
        return self


class SubsetBlock(Block):
    """A part of a large set of rows, taken before the split."""

    rows: Annotated[int, Field(ge=1)] = Field(
        description="How many rows are taken.", examples=[10_000]
    )
    by: Literal["reservoir", "head"] = Field(
        "reservoir",
        description="`reservoir` draws from all rows by the seed; `head` takes the first rows and "
        "reads no further.",
    )


class MappingBlock(Block):
    """How the columns of a file fill the fields of its format."""

    columns: dict[str, str] = Field(
        {},
        description="Field of the format: column of the file that holds it (`a.b` for one inside "
        "another).",
        examples=[{"question": "problem", "solution": "generated_solution"}],
    )
    system: str | None = Field(
        None,
        description="System prompt before every row that has none of its own.",
        examples=["You are a careful mathematician."],
    )
    developer: str | None = Field(
        None,
        description="Developer prompt before every row that has none, as FunctionGemma wants it.",
        examples=["You are a model that can do function calling with the following functions"],
    )
    template: str | None = Field(
        None,
        description="What the user says, with fields of the row in braces; the format's own "
        "without it.",
        examples=["{question}\n\nAnswer with a number."],
    )
    think: str | None = Field(
        None,
        description="Field whose text goes before the answer, between <think> and </think>.",
        examples=["thinking_outline"],
    )


class DataBlock(Block):
    """The rows, what they mean, and how they are split."""

    path: str | None = Field(
        None,
        description="File with the rows (JSONL, JSON, CSV or Parquet, also as .gz or .zst), "
        "relative to the spec; or gs://bucket/file, or hf://datasets/owner/name@revision/file. "
        "`--data FILE` goes before it.",
        examples=[
            "sample.jsonl",
            "hf://datasets/owner/name@0123456789abcdef0123456789abcdef01234567/data/*.parquet",
        ],
    )
    format: str = Field(
        "prompt-completion",
        description="What a row holds: chat, prompt-completion, instruction, math, tool-calls, "
        "routing, router-trace, or the path of a Python file with a format of your own.",
        examples=["prompt-completion", "chat", "./my_rows.py"],
    )
    mapping: MappingBlock = Field(
        MappingBlock(), description="How the columns of the file fill the fields of the format."
    )
    answer: str = Field(
        "text",
        description="What an answer holds: `text` of any kind, or JSON that follows the schema of "
        "this name (or in this file, relative to the spec).",
        examples=["route-plan", "./answer.schema.json"],
    )
    tools: str | None = Field(
        None,
        description="JSON file with the tools that rows may call, relative to the spec.",
        examples=["tools.json"],
    )
    subset: SubsetBlock | None = Field(
        None, description="A part of a large set of rows, taken before the split."
    )
    split: SplitBlock = Field(
        SplitBlock(),
        description="Shares of the rows (they add up to 1), numbers of rows, or a file for each "
        "split.",
    )
    near_duplicates: Annotated[float, Field(gt=0.5, le=1, allow_inf_nan=False)] = Field(
        0.8,
        description="From this similarity on (Jaccard, of words) two questions count as nearly "
        "the same, and go into the same split. 1 compares nothing but equal ones.",
        examples=[0.9],
    )
    redact: bool = Field(
        False,
        description="Whether e-mail addresses, phone numbers, keys and tokens are masked when the "
        "rows are prepared.",
    )
