"""Reads the calls of tools in rows, in the ways in which data sets write them."""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.dataset.example import Call
from orchestrator.dataset.formats.base import RowError
from orchestrator.dataset.reading.jsonl import has_sound_numbers
from orchestrator.dataset.reading.repeated_keys import RepeatedKey, TooDeep, read_json


def call(value: dict[str, Any], where: str) -> Call:
    """One call: {name, arguments} or {name, args}, bare or as the `function` of an object."""
    function = value.get("function", value)
    for key in ("arguments", "args", "parameters"):
        if key in function:
            return Call(function["name"], arguments(function[key], f"{where}.{key}"))
    return Call(function["name"], {})


def arguments(value: Any, where: str) -> dict[str, Any]:
    """The arguments of a call: an object, or JSON of one. Raises `RowError`."""
    if isinstance(value, str):
        value = json_value(value, where)
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"{where}: the arguments of a call are an object, and this is {_kind(value)}"
        raise RowError("arguments-form", message, 'Write {"name": value, ...}.')
    return value


def json_value(text: str, where: str) -> Any:
    """The value of a JSON text inside a row. Raises `RowError`."""
    try:
        value = read_json(text)
        if has_sound_numbers(value):
            return value
        orjson.loads(text)  # it refuses what is out of range, and takes the digits of others
        message = f"{where} holds a whole number of more than 64 bits"
        raise RowError("field-not-json", message, "Write it as a string.")
    except TooDeep as deep:
        message = f"{where} cannot be used: {deep}"
        raise RowError("field-not-json", message, "Flatten it.") from None
    except orjson.JSONDecodeError as error:
        message = f"{where} is not JSON: {error}"
        raise RowError("field-not-json", message, "Write JSON in the field.") from None
    except RepeatedKey as repeated:
        message = f"{where} holds the key {repeated.key!r} twice in one object"
        raise RowError("duplicate-key", message, "Keep one of them.") from None


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number")
