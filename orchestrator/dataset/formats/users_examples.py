"""What a format of the user's makes of a row, whatever happens in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import orjson

from orchestrator.dataset.example import Call, Example, Message, Role, Tool
from orchestrator.dataset.formats.base import Format, FormatContext, RowError
from orchestrator.dataset.formats.registry import users_line
from orchestrator.errors import Place

_ROLES = get_args(Role)


class UsersExamples:
    """The examples of one such format, of which only those go on that checks can read."""

    def __init__(self, form: Format, file: Path, name: str) -> None:
        self._form = form
        self._file = file
        self._name = name

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The example of a row. Raises `RowError`."""
        try:
            # What it prints must not mix with what a command prints.
            with contextlib.redirect_stdout(sys.stderr):
                example = self._form.example(file, line, fields, context)
        except RowError as error:
            raise RowError(str(error.code), _shown(error.message), _shown(error.hint)) from None
        except (Exception, SystemExit) as error:
            words = _shown(f"{type(error).__name__}: {error}")
            where = Place(self._name, users_line(error, self._file))
            hint = f"Correct {self._name}, or let it raise RowError where the row is wrong."
            raise RowError("format-failed", f"{where} failed: {words[:200]}", hint) from None
        if not isinstance(example, Example):
            kind = type(example).__name__
            message = f"{self._name} gave {kind} for the row, which is no Example"
            raise RowError("format-failed", message, "Return an Example.")
        wrong = next(_wrong(example, context), None)
        if wrong is not None:
            message = f"{self._name} gave an Example whose {wrong}"
            hint = f"Correct {self._name}; see orchestrator.dataset.example."
            raise RowError("format-failed", message, hint)
        example.file, example.line = file, line
        return example


def _shown(text: object) -> str:
    """A text that can be written anywhere."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def _wrong(example: Example, context: FormatContext) -> Iterator[str]:
    """What of an example is not what its type says, and where."""
    for name in ("prompt", "answer"):
        side = getattr(example, name)
        if isinstance(side, tuple):
            for index, message in enumerate(side):
                yield from _wrong_message(message, f"{name}[{index}]")
        elif not _is_text(side):
            yield f"{name} is neither a text nor a tuple of Message"
    if not isinstance(example.fields, dict):
        yield "fields are no dict"
    if example.tools is not context.tools:
        yield from _wrong_tools(example.tools)
    for name in ("reference", "difficulty"):
        if getattr(example, name) is not None and not _is_text(getattr(example, name)):
            yield f"{name} is no text"
    if not _are(example.tags, str):
        yield "tags are no tuple of texts"


def _wrong_tools(tools: Any) -> Iterator[str]:
    if not _are(tools, Tool):
        yield "tools are no tuple of Tool"
        return
    for index, tool in enumerate(tools):
        if not _is_text(tool.name) or not _is_json([tool.parameters, tool.declaration]):
            yield f"tools[{index}] holds something else than plain JSON values"


def _wrong_message(message: Any, where: str) -> Iterator[str]:
    if not isinstance(message, Message):
        yield f"{where} is no Message"
        return
    if message.role not in _ROLES:
        yield f"{where}.role is none of {', '.join(_ROLES)}"
    for name in ("content", "thinking", "name"):
        if getattr(message, name) is not None and not _is_text(getattr(message, name)):
            yield f"{where}.{name} is no text"
    if not _are(message.calls, Call):
        yield f"{where}.calls are no tuple of Call"
        return
    for index, call in enumerate(message.calls):
        if not _is_text(call.name):
            yield f"{where}.calls[{index}].name is no text"
        if not isinstance(call.arguments, dict) or not _is_json(call.arguments):
            yield f"{where}.calls[{index}].arguments are no dict of plain JSON values"


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, kind) for value in values)


def _is_text(value: Any) -> bool:
    """Whether it is a text that UTF-8 can hold: halves of surrogate pairs cannot be written."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it went: no NaN, no sets, no keys but texts."""
    try:
        return bool(orjson.loads(orjson.dumps(value)) == value)
    except TypeError:
        return False
