"""Rows, rules and simple machinery for tests of how rows are prepared."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.example import Example
from orchestrator.dataset.preparing.machinery import Machinery
from orchestrator.dataset.preparing.prepared import PreparedData, read_summary
from orchestrator.dataset.preparing.rows import Written, prepare_rows
from orchestrator.dataset.reading.rows import Row, unreadable
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import RowsFile, Rules, TokenRules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.errors import Place
from orchestrator.spec import DataBlock


def question(number: int) -> str:
    """A question that shares few words with any other."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return " ".join(f"word{digest[place : place + 3]}" for place in range(0, 36, 3))


class WordCounter:
    """Counts words, and says that this is exact."""

    basis = "words"

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact

    def count(self, examples: Sequence[Example]) -> list[TokenCount]:
        """A token a word."""
        return [
            TokenCount(len(str(one.prompt).split()), len(str(one.answer).split()))
            for one in examples
        ]


def rules(**changes: Any) -> Rules:
    """Rules for pairs of texts; fields of the data block and of the rules may be changed."""
    data = {name: changes.pop(name) for name in list(changes) if name in DataBlock.model_fields}
    made = Rules(
        data=DataBlock.model_validate(data),
        spec_folder=Path(),
        tools=(),
        tokens=TokenRules("m", None, None, "none", 0.25, "a guess"),
        service="vertex",
        max_length=None,
        max_length_source="nobody",
        too_long="error",
        export=None,
        seed=42,
    )
    return dataclasses.replace(made, **changes)


def parts(counter: WordCounter | None = None, **changes: Any) -> Machinery:
    """Machinery for JSONL of `prompt` and `completion`."""
    made = Machinery(
        read=_read,
        convert=_convert,
        examine=lambda _: (),
        conclude=lambda: (),
        redact=None,
        line=_line,
        counter=counter or WordCounter(exact=False),
        loses_answer=lambda count, most: count.total > most,
    )
    return dataclasses.replace(made, **changes)


def pairs(numbers: Iterable[int], **fields: Any) -> list[dict[str, Any]]:
    """Rows with different questions."""
    return [
        {"prompt": question(number), "completion": f"answer {number}", **fields}
        for number in numbers
    ]


def write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> RowsFile:
    """A file with the rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return RowsFile(file, file.name)


def prepared_lines(folder: Path) -> dict[str, list[bytes]]:
    """The lines of each split that has rows."""
    return {file.stem: file.read_bytes().splitlines() for file in sorted(folder.glob("*.jsonl"))}


def prompts(folder: Path) -> dict[str, set[str]]:
    """The prompts of each split that has rows."""
    return {
        name: {orjson.loads(line)["prompt"] for line in lines}
        for name, lines in prepared_lines(folder).items()
    }


def prepare_in(
    folder: Path,
    rows: Iterable[dict[str, Any]] | Sequence[RowsFile],
    *,
    given: Rules | None = None,
    machinery: Machinery | None = None,
    limit: int | None = None,
) -> Written:
    """Prepare rows into a folder."""
    listed = list(rows)
    files = (
        [one for one in listed if isinstance(one, RowsFile)]
        if listed and isinstance(listed[0], RowsFile)
        else [write_rows(folder.with_name(f"{folder.name}-rows.jsonl"), listed)]  # type: ignore[arg-type]  # told apart above
    )
    return prepare_rows(files, given or rules(), machinery or parts(), folder, limit=limit)


def summary_of(prepared: PreparedData) -> bytes:
    """The bytes of the summary, which must be there."""
    assert read_summary(prepared.folder) == prepared.summary
    return (prepared.folder / "summary.json").read_bytes()


def _read(file: RowsFile) -> Iterator[Row | Finding]:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield Row(number, orjson.loads(line))
            except orjson.JSONDecodeError:
                yield unreadable("not-json", Place(file.name, number), "not JSON", "Mend it.")


def _convert(file: RowsFile, row: Row) -> Example | Finding:
    fields = row.value
    return Example(
        file.name,
        row.line,
        fields["prompt"],
        fields["completion"],
        fields,
        tags=tuple(fields.get("tags", ())),
        difficulty=fields.get("difficulty"),
    )


def _line(example: Example) -> bytes:
    return orjson.dumps({"prompt": example.prompt, "completion": example.answer}) + b"\n"
