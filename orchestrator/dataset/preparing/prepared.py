"""Prepared data: the files of the splits as the service takes them, and their summary."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.dataset.report import Report
from orchestrator.dataset.rules import SplitName
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError

#: Raised whenever the same input would give other bytes: older prepared data is then made anew.
PREPARATION_VERSION = 1
SUMMARY = "summary.json"


class DataError(InputError):
    """Rows that cannot be trained on; the report says which and why."""

    exit_code = 1

    def __init__(self, name: str, report: Report) -> None:
        super().__init__(
            f"{name}: {_counted(report.error_count, 'error')} in {_counted(report.rows, 'row')}",
            hint="See them all: orchestrator check SPEC --only form",
        )
        self.report = report


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputFacts(_Part):
    """A file that was read: what it is, not where it is."""

    sha256: str
    size_bytes: int
    split: SplitName | None


class LeftOut(_Part):
    """Rows that are in no split, by why."""

    too_long: int = 0
    subset: int = 0
    limit: int = 0
    numbers_wanted: int = 0


class KeptTogether(_Part):
    """Duplicates and near-duplicates: in one split each, unless the spec names files."""

    groups: int = 0
    rows: int = 0
    largest: int = 0
    #: Only where the spec names a file for each split.
    straddling: int = 0


class Named(_Part):
    """How many rows have something: a tool that they call, a tag, a difficulty."""

    name: str
    rows: int


class Bin(_Part):
    """How many rows are so long; both ends are inclusive."""

    low: int
    high: int
    rows: int


class Lengths(_Part):
    """The lengths of one part of the rows of a split, in characters or tokens."""

    total: int
    least: int
    most: int
    bins: tuple[Bin, ...]


class RowLengths(_Part):
    """Prompt, answer, and both together."""

    prompt: Lengths
    answer: Lengths
    whole: Lengths


class PreparedSplit(_Part):
    """One split as it is uploaded. `tokens` is None where nothing could count them."""

    name: SplitName
    rows: int
    size_bytes: int
    sha256: str
    characters: RowLengths
    tokens: RowLengths | None
    tools: tuple[Named, ...]
    tags: tuple[Named, ...]
    difficulties: tuple[Named, ...]


class TooLong(_Part):
    """Rows over the limit, of all splits. Counted in tokens, or estimated from characters."""

    limit: int | None
    limit_source: str
    exact: bool
    basis: str
    rows: int
    #: Only where tokens are counted: rows that lose their answer in part or whole.
    answers_lost: int | None


class Version(_Part):
    """A part of the program, or a library, that decided something."""

    name: str
    version: str


class Summary(_Part):
    """What was prepared from what. `rows` is how many were read; `digest` is of all the rest."""

    kind: Literal["prepared-rows"] = "prepared-rows"
    stamp: str
    seed: int
    limit: int | None
    inputs: tuple[InputFacts, ...]
    tools_sha256: str | None = None
    rows: int
    left_out: LeftOut
    kept_together: KeptTogether
    redacted_rows: int | None
    too_long: TooLong
    splits: tuple[PreparedSplit, ...]
    versions: tuple[Version, ...]
    digest: str = ""

    def split(self, name: SplitName) -> PreparedSplit:
        """One of the splits, by its name."""
        return next(split for split in self.splits if split.name == name)

    def sealed(self) -> Summary:
        """With the digest of its content."""
        return self.model_copy(update={"digest": self._content_digest()})

    @property
    def is_sealed(self) -> bool:
        """Whether the content is what was sealed."""
        return self.digest == self._content_digest()

    def _content_digest(self) -> str:
        return _digest(self.model_dump(mode="json", exclude={"digest"}))


@dataclass(frozen=True)
class PreparedData:
    """A folder with prepared rows. `made` says whether this call made it, or found it as it was.

    `why` says what was wrong with what lay there before, if that was made anew.
    """

    folder: Path
    summary: Summary
    made: bool
    why: str = ""

    @property
    def files(self) -> dict[SplitName, Path]:
        """The files of the splits that have rows."""
        splits = [split.name for split in self.summary.splits if split.rows]
        return {name: self.folder / file_name(name) for name in splits}

    @property
    def sha256(self) -> str:
        """The digest of what was read: that of the file, or of the digests of several."""
        return input_digest(self.summary.inputs)


def file_name(split: SplitName) -> str:
    """The name of a split's file."""
    return f"{split}.jsonl"


def input_digest(inputs: Sequence[InputFacts]) -> str:
    """One digest for all files that were read, in their order."""
    if len(inputs) == 1 and inputs[0].split is None:
        return inputs[0].sha256
    return _digest([[one.sha256, one.split] for one in inputs])


def write_summary(folder: Path, summary: Summary) -> None:
    """Write the summary beside the splits."""
    content = orjson.dumps(summary.sealed().model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    (folder / SUMMARY).write_bytes(content + b"\n")


def read_summary(folder: Path) -> Summary | None:
    """The summary of prepared data; None if there is none that can be read."""
    try:
        content = (folder / SUMMARY).read_bytes()
        return Summary.model_validate_json(content)
    except (OSError, ValidationError):
        return None


def damage(folder: Path, summary: Summary) -> str:
    """What is wrong with prepared data; empty if every file is as it was written."""
    if not summary.is_sealed:
        return f"{SUMMARY} was changed"
    for split in summary.splits:
        if not split.rows:
            continue
        file = folder / file_name(split.name)
        try:
            if sha256_file(file) != split.sha256:
                return f"{file.name} was changed"
        except OSError as error:
            return f"{file.name} cannot be read: {error.strerror}"
    return ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
