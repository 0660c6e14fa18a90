"""Checks of values against JSON Schemas: of rows, of the answers inside them, of arguments.

jsonschema-rs decides; jsonschema words why a refused value is refused. A test keeps them agreeing
on the schemas that ship. Neither ever fetches a schema from elsewhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.data_files import schema

if TYPE_CHECKING:
    import jsonschema

_MOST_CHARACTERS = 200
_JSON_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")


class BrokenSchema(Exception):
    """A schema that is none: `path` leads to what is wrong in it."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class Schema:
    """A JSON Schema that is ready to judge. Raises `BrokenSchema` if it cannot."""

    def __init__(self, definition: dict[str, Any]) -> None:
        self.definition = definition
        self._fast = _compiled(definition)
        #: Whether a value follows the schema.
        self.accepts: Callable[[Any], bool] = self._fast.is_valid

    def reason(self, value: Any) -> str:
        """Why a refused value is refused, in one line that begins with the field."""
        words = _reason(self.definition, value)
        if words is None:  # a schema of a user's, that the two read differently
            found = next(iter(self._fast.iter_errors(value)), None)
            words = str(found.message) if found is not None else "the schema refuses it"
        return words


#: How jsonschema-rs begins to say that a schema was not to be had.
_ELSEWHERE = re.compile(r"Resource '(.*?)' is not present")


def _refuse_fetching(address: str) -> Any:
    raise ValueError(f"{address} is not fetched")


def _compiled(definition: dict[str, Any]) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(definition, retriever=_refuse_fetching)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        path = tuple(getattr(error, "instance_path", ()))
        message = str(getattr(error, "message", None) or error).partition("\n")[0]
        elsewhere = _ELSEWHERE.match(message)
        if elsewhere is not None:
            message = f"it refers to {elsewhere[1]}, and schemas are not fetched: put it in $defs"
        if path and path[-1] == "type":
            message = f"{_at(definition, path)!r} is no type: {', '.join(_JSON_TYPES)}"
        raise BrokenSchema(_short(message), path) from None


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@functools.cache
def shipped_schema(name: str) -> Schema:
    """The schema of that name among those that ship; raises `InputError` that names them."""
    return Schema(schema(name))


def is_valid(name: str, value: Any) -> bool:
    """Whether a value follows the named schema."""
    return shipped_schema(name).accepts(value)


def explain(name: str, value: Any) -> str | None:
    """Why a value does not follow the named schema, in one line; None if it does."""
    return _reason(schema(name), value)


def _reason(definition: dict[str, Any], value: Any) -> str | None:
    import jsonschema
    import referencing

    kind = jsonschema.validators.validator_for(definition, default=jsonschema.Draft202012Validator)
    try:
        found = list(kind(definition, registry=referencing.Registry()).iter_errors(value))
        error = jsonschema.exceptions.best_match(found)
    except RecursionError:  # it quotes the value in its message
        return "a value is nested too deeply"
    except Exception:  # a user's schema whose patterns only the other one reads
        return None
    if error is None:
        return None
    error = _titled(error)
    message = _short(_message(error))
    field = written_path(error.absolute_path)
    return f"{field}: {message}" if field else message


def _titled(error: jsonschema.exceptions.ValidationError) -> Any:
    """The choice that was not met, where its schema says what it stands for."""
    above: Any = error
    while above.parent is not None:
        above = above.parent
        if above.validator in {"anyOf", "oneOf"} and "title" in above.schema:
            return above
    return error


def _message(error: jsonschema.exceptions.ValidationError) -> str:
    """The validator's own words, unless the schema says what a pattern or a choice stands for."""
    wanted = error.schema.get("title") if isinstance(error.schema, dict) else None
    if wanted and error.validator == "pattern":
        return f"{error.instance!r} is not {wanted}"
    if wanted and error.validator in {"anyOf", "oneOf"}:
        if isinstance(error.instance, dict):
            return f"this is not {wanted}"
        return f"{error.instance!r} is not {wanted}"
    return error.message


def written_path(path: Any) -> str:
    """Keys and positions the way people write them: `messages[2].content`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).lstrip(".")


def _short(message: str) -> str:
    return message if len(message) <= _MOST_CHARACTERS else f"{message[:_MOST_CHARACTERS]}…"
