"""Reads the rows of a suite: from files of this machine, of Cloud Storage, of the Hub."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.data_addresses import DatasetAddress, parse_address
from orchestrator.data_sources import Fetch
from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError, Place
from orchestrator.suites.call_rows import call_row
from orchestrator.suites.catalog import ASKED, Suite
from orchestrator.suites.mappings import MAPPERS
from orchestrator.suites.suite_rows import SuiteRow, WrongRow

#: Where possible answers are, as seen from the rows.
_ANSWERS_FOLDER = "possible_answer"


@dataclass(frozen=True)
class SuiteRows:
    """The rows of a suite, and the files they came from, as messages call them."""

    rows: tuple[SuiteRow, ...]
    files: tuple[str, ...]


def read_suite(
    suite: Suite,
    source: str | None,
    fetch: Fetch,
    *,
    answers: str | None = None,
    ask: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> SuiteRows:
    """The rows of a suite, from `source` or from its own address on the Hub.

    `answers` names the second file of suites that have one; else it is looked for in the folder
    `possible_answer` beside the rows. `ask` is put behind every question in place of the suite's
    own words. `limit` takes so many, drawn with `seed`, in the order of the file. Raises
    `InputError` with the place of the first row that is not the suite's.
    """
    address = source or suite.address
    if address is None:
        raise InputError(
            f"{suite.name}: no file of it on the Hub is known for certain",
            hint=f"Name its rows: --from FILE, or --from hf://datasets/…; they are described at "
            f"{suite.source}.",
        )
    if answers is not None and not suite.answers:
        raise InputError(f"{suite.name} has its answers in its rows: leave --answers out")
    files = _files(address, fetch)
    told = ASKED[suite.ask] if ask is None else ask
    if suite.answers:
        known = _answers(_files(answers or _beside(address), fetch))
        rows = [_called(found, known, told) for found in _rows(suite, files)]
    else:
        rows = [
            _mapped(suite, found, number, told) for number, found in enumerate(_rows(suite, files))
        ]
    _no_twins(rows)
    if limit is not None and limit < len(rows):
        draw = random.Random(seed)  # noqa: S311 (repeatable, no secret)
        rows = [rows[at] for at in sorted(draw.sample(range(len(rows)), limit))]
    return SuiteRows(tuple(row for row, _ in rows), tuple(file.name for file in files))


@dataclass(frozen=True)
class _Found:
    value: Mapping[str, Any]
    place: Place


def _files(text: str, fetch: Fetch) -> tuple[RowsFile, ...]:
    """The files that a text names, brought here."""
    address = parse_address(text)
    if address is None:
        return (RowsFile(Path(text), text),)
    if isinstance(address, DatasetAddress) and not address.pinned:
        commit = fetch.commit(address)
        if commit is None:
            raise InputError(
                f"{address} names no commit, and offline nobody can say which one it means",
                hint=f"Write {address.at('COMMIT')}, with the 40 digits of a commit.",
            )
        address = address.at(commit)
    found = fetch.find(address)
    if not found:
        raise InputError(f"nothing there has a name like {address}")
    return tuple(RowsFile(fetch.bring(rows), rows.name) for rows in found)


def _beside(address: str) -> str:
    """Where the possible answers to some rows are."""
    folder, slash, name = address.rpartition("/")
    return f"{folder}{slash}{_ANSWERS_FOLDER}/{name}"


def _rows(suite: Suite, files: tuple[RowsFile, ...]) -> Iterator[_Found]:
    needed = [name for name in suite.columns if not name.endswith("?")]
    for found in _read(files):
        missing = [name for name in needed if found.value.get(name) is None]
        if missing:
            columns = ", ".join(f"`{name.rstrip('?')}`" for name in suite.columns)
            there = ", ".join(f"`{name}`" for name in list(found.value)[:8])
            raise InputError(
                f"this row has no `{missing[0]}`, so it is none of {suite.name}",
                where=found.place,
                hint=f"Rows of {suite.name} have {columns}; this one has {there or 'nothing'}.",
            )
        yield found


def _read(files: tuple[RowsFile, ...]) -> Iterator[_Found]:
    for file in files:
        for found in read_rows(file):
            if not isinstance(found, Row):
                raise InputError(found.message, where=found.place, hint=found.hint)
            yield _Found(found.value, Place(file.name, found.line))


def _answers(files: tuple[RowsFile, ...]) -> dict[str, Mapping[str, Any]]:
    return {
        found.value["id"]: found.value
        for found in _read(files)
        if isinstance(found.value.get("id"), str)
    }


def _called(
    found: _Found, answers: Mapping[str, Mapping[str, Any]], ask: str
) -> tuple[SuiteRow, Place]:
    answer = answers.get(str(found.value["id"]))
    if answer is None:
        raise InputError(
            f"there is no answer with the id {str(found.value['id'])[:80]!r}",
            where=found.place,
            hint="Name the file with the possible answers to these very rows: --answers FILE.",
        )
    try:
        return call_row(found.value, answer, ask), found.place
    except WrongRow as wrong:
        raise InputError(str(wrong), where=found.place) from None


def _mapped(suite: Suite, found: _Found, number: int, ask: str) -> tuple[SuiteRow, Place]:
    try:
        return MAPPERS[suite.name](found.value, number, ask), found.place
    except WrongRow as wrong:
        raise InputError(
            str(wrong), where=found.place, hint=f"How {suite.name} writes it: {suite.source}"
        ) from None


def _no_twins(rows: list[tuple[SuiteRow, Place]]) -> None:
    seen: dict[str, Place] = {}
    for row, place in rows:
        if row.id in seen:
            raise InputError(
                f"this row has the id {row.id[:80]!r}, which {seen[row.id]} has already",
                where=place,
                hint="Rows are matched with their answers by id: keep one of them.",
            )
        seen[row.id] = place
