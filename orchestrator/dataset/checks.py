"""Checks of rows against the JSON Schemas of their format and of the answer inside them.

jsonschema-rs decides; jsonschema words why a refused row is refused. A test keeps them agreeing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.data_files import schema
from orchestrator.dataset.jsonl import Row
from orchestrator.dataset.report import Finding, Level, Report
from orchestrator.errors import OrchestratorError, Place

if TYPE_CHECKING:
    import jsonschema


def check_rows(
    rows: Iterable[Row | Finding],
    *,
    name: str,
    row_schema: str,
    answer_schema: str | None,
) -> Report:
    """The report on rows (`name` is their file) against the two schemas, named without suffix."""
    count = 0

    def findings() -> Iterator[Finding]:
        nonlocal count
        for row in rows:
            count += 1
            if isinstance(row, Finding):
                yield row
            else:
                yield from check_row(row, name, row_schema, answer_schema)

    groups = Report.of(0, findings()).groups
    return Report(count, groups)


def check_row(row: Row, name: str, row_schema: str, answer_schema: str | None) -> Iterator[Finding]:
    """What is wrong with one row; nothing for a good one."""
    place = Place(name, row.line)
    if not is_valid(row_schema, row.value):
        yield _refusal(row_schema, row.value, place, what="row")
        return
    if answer_schema is None:
        return
    try:
        answer = orjson.loads(row.value["completion"])
    except orjson.JSONDecodeError as error:
        message = f"the completion is not JSON: {error}"
        hint = f"The spec says that answers are {answer_schema} documents."
        yield Finding("form", Level.ERROR, "answer-not-json", place, message, hint)
        return
    if not is_valid(answer_schema, answer):
        yield _refusal(answer_schema, answer, place, what="answer")


#: How a row of a format looks, where that says more than its schema.
_LOOKS = {"prompt-completion": 'A row is {"prompt": "...", "completion": "..."}. '}


@functools.cache
def _fast(name: str) -> Callable[[Any], bool]:
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema(name)).is_valid


def is_valid(name: str, value: Any) -> bool:
    """Whether a value follows the named schema."""
    return _fast(name)(value)


def explain(name: str, value: Any) -> str | None:
    """Why a value does not follow the named schema, in one line; None if it does."""
    import jsonschema

    validator = jsonschema.validators.validator_for(schema(name))(schema(name))
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except RecursionError:  # it quotes the value in its message
        return "a value is nested too deeply"
    if error is None:
        return None
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
    message = _message(error)
    message = message if len(message) <= 200 else f"{message[:200]}…"
    return f"{field.lstrip('.')}: {message}" if field else message


def _message(error: jsonschema.exceptions.ValidationError) -> str:
    """The validator's own words, but not a pattern where the schema says what it stands for."""
    wanted = error.schema.get("title") if isinstance(error.schema, dict) else None
    if error.validator == "pattern" and wanted:
        return f"{error.instance!r} is not {wanted}"
    return error.message


def _refusal(name: str, value: Any, place: Place, *, what: str) -> Finding:
    reason = explain(name, value)
    if reason is None:
        # The two validators must agree; if they ever do not, the row is not the user's fault.
        raise OrchestratorError(
            f"the validators of schema {name} disagree on this {what}",
            where=place,
            hint="This is a bug of this program: please report it with the row.",
        )
    hint = f"{_LOOKS.get(name, '')}See: orchestrator schema {name}"
    return Finding("form", Level.ERROR, f"{what}-schema", place, f"{what}: {reason}", hint)
