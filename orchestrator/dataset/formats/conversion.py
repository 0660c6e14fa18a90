"""Converts rows to examples by the format and the mapping of the spec, or says what is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.dataset.checks.schemas import BrokenSchema, Schema, shipped_schema
from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.base import Format, FormatContext, RowError
from orchestrator.dataset.formats.foreign_rows import advice
from orchestrator.dataset.formats.prompt_template import check_template, prompt_template
from orchestrator.dataset.formats.registry import FORMATS, find_format
from orchestrator.dataset.formats.users_examples import UsersExamples
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.errors import InputError, Place

_MISSING = object()
#: How many rows of a file are looked at before a column counts as missing from it.
_FIRST_ROWS = 100


class Converter:
    """Converts the rows of one data block. Raises `InputError` if format and mapping do not fit.

    Holds compiled schemas, so it is made anew in every process.
    """

    def __init__(self, rules: Rules) -> None:
        data = rules.data
        self._format = find_format(data.format, rules.spec_folder)
        self._context = FormatContext(data.mapping, rules.tools)
        self._columns = {
            field: (column, tuple(column.split(".")))
            for field, column in data.mapping.columns.items()
        }
        _check_mapping(self._format, self._context)
        self._schema = _schema(self._format)
        self._accepts = self._schema.accepts
        self._example = self._format.example
        if data.format not in FORMATS:
            file = (rules.spec_folder / data.format).absolute()
            self._example = UsersExamples(self._format, file, data.format).example

    def convert(self, file: str, row: Row, split: str | None) -> Example | Finding:
        """The example of a row, or what is wrong with it. `file` is how messages call the file."""
        fields = row.value
        if self._columns:
            fields = self._renamed(fields)
        if not self._accepts(fields):
            return self._refused(file, row, fields)
        try:
            example = self._example(file, row.line, fields, self._context)
        except RowError as error:
            place = Place(file, row.line)
            hint = error.hint or self._format.looks
            return Finding("form", Level.ERROR, error.code, place, error.message, hint)
        if self._columns:
            example.fields = row.value
        example.split = split
        return example

    def missing_columns(self, rows: Iterable[Row]) -> InputError | None:
        """What to say once if a column that every row needs is in none of these rows."""
        there: dict[str, None] = {}
        missing = dict(self._columns)
        count = 0
        for row in rows:
            count += 1
            there |= dict.fromkeys(row.value)
            for field in [f for f in missing if _value(row.value, *missing[f]) is not _MISSING]:
                del missing[field]
        needed = set(self._schema.definition.get("required", ()))
        for field, (column, _) in missing.items():
            if field in needed and count:
                return InputError(
                    f"data.mapping.columns names `{column}` for `{field}`, and no row has it",
                    hint=f"Columns that there are: {', '.join(there)}.",
                )
        return None

    def _renamed(self, row: dict[str, Any]) -> dict[str, Any]:
        fields = dict(row)
        for field, (column, path) in self._columns.items():
            value = _value(row, column, path)
            if value is _MISSING:
                fields.pop(field, None)
            else:
                fields[field] = value
        return fields

    def _refused(self, file: str, row: Row, fields: dict[str, Any]) -> Finding:
        place = Place(file, row.line)
        required = self._schema.definition.get("required", ())
        for field, (column, _) in self._columns.items():
            if field in required and field not in fields:
                message = f"row: there is no column `{column}`, which the spec names for `{field}`"
                hint = f"The row's columns: {', '.join(row.value) or 'none'}."
                return Finding("form", Level.ERROR, "column-missing", place, message, hint)
        hint = self._format.looks
        if isinstance(self._format.schema, str):
            hint = f"{hint} See: orchestrator schema {self._format.schema}"
        elsewhere = advice(self._format.name, row.value)
        if elsewhere is not None:
            hint = f"{elsewhere} {self._format.looks}"
        message = f"row: {self._schema.reason(fields)}"
        return Finding("form", Level.ERROR, "row-schema", place, message, hint)


def require_columns(files: Sequence[RowsFile], rules: Rules) -> None:
    """Raise `InputError` if the first rows of all files lack a mapped column that rows need.

    Said once and early: otherwise every single row would be refused for it.
    """
    from orchestrator.dataset.reading.opening import read_rows

    if not rules.data.mapping.columns:
        return
    rows: list[Row] = []
    for file in files:
        first = itertools.islice(read_rows(file), _FIRST_ROWS)
        rows += [row for row in first if isinstance(row, Row)]
    problem = Converter(rules).missing_columns(rows)
    if problem is not None:
        raise problem


def _value(row: dict[str, Any], column: str, path: tuple[str, ...]) -> Any:
    """The value of a column; one whose own name has dots goes before one inside another."""
    if column in row:
        return row[column]
    value: Any = row
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _schema(form: Format) -> Schema:
    if isinstance(form.schema, str):
        return shipped_schema(form.schema)
    try:
        return Schema(form.schema)
    except BrokenSchema as broken:
        path = "".join(f"[{part!r}]" for part in broken.path)
        raise InputError(
            f"the schema of the format {form.name} is no JSON Schema: {path} {broken.message}",
            hint="Correct `schema` in the file of the format.",
        ) from None


def _check_mapping(form: Format, context: FormatContext) -> None:
    """Raise `InputError` for what the format cannot honour, before any row is read."""
    mapping = context.mapping
    known = [*form.columns, *(field for field in mapping.columns if field not in form.columns)]
    used = set(form.columns)
    for part in ("system", "developer", "template"):
        if getattr(mapping, part) is not None and part not in form.mapped:
            raise InputError(
                f"data.mapping.{part}: rows of the format {form.name} have none",
                hint=_INSTEAD.get((form.name, part), "Leave it out, or use another format."),
            )
    if mapping.template is not None:
        check_template(mapping.template, known)
        used |= set(prompt_template(mapping.template).fields)
    if mapping.think is not None:
        used.add(mapping.think)
        _check_think(mapping.think, known)
    for field in mapping.columns:
        if field not in used:
            raise InputError(
                f"data.mapping.columns: the format {form.name} has no field `{field}`",
                hint=f"Its fields: {', '.join(form.columns)}. Write FIELD: COLUMN.",
            )


_INSTEAD = {
    ("prompt-completion", "system"): "Its prompts are texts: put it into `template`.",
    ("prompt-completion", "developer"): "Its prompts are texts: put it into `template`.",
    ("router-trace", "system"): "Its prompts are texts: put it into `template`.",
    ("router-trace", "developer"): "Its prompts are texts: put it into `template`.",
    ("chat", "template"): "The messages of a chat stand as they are.",
}


def _check_think(field: str, known: list[str]) -> None:
    if field not in known:
        raise InputError(
            f"data.mapping.think names `{field}`, and there is no such field",
            hint=f"Fields: {', '.join(known)}. Others are named under data.mapping.columns.",
        )
