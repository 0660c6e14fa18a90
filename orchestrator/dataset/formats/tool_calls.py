"""Rows of what a user says and the calls that answer it, as CSV files of such data hold them."""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.formats.base import Format, FormatContext, RowError
from orchestrator.dataset.formats.calls_of_rows import call, json_value
from orchestrator.dataset.formats.turns import asked


class ToolCalls(Format):
    """`user_message` and `tool_calls`, a list (or JSON of one) of {name, args}."""

    name = "tool-calls"
    schema = "tool-calls"
    columns = ("user_message", "tool_calls")
    looks = (
        'A row is {"user_message": "...", "tool_calls": [{"name": "...", "arguments": {...}}]}; '
        "the list may be a JSON text."
    )

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The calls are the answer; the tools are those of the spec's `data.tools`."""
        value = fields["tool_calls"]
        if isinstance(value, str):
            value = json_value(value, "tool_calls")
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            raise RowError("calls-form", "tool_calls: this is no list of calls")
        calls = []
        for index, item in enumerate(value):
            where = f"tool_calls[{index}]"
            function = item.get("function", item) if isinstance(item, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            if not isinstance(name, str) or not name:
                raise RowError("calls-form", f"{where}: this is no call with a `name`")
            calls.append(call(item, where))
        answer = Message("assistant", None, tuple(calls))
        return asked((file, line), fields, context, fields["user_message"], answer)


FORMAT = ToolCalls()
