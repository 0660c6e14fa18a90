"""Rows of what a user says and the one agent that shall take it."""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.example import Call, Example, Message
from orchestrator.dataset.formats.base import Format, FormatContext
from orchestrator.dataset.formats.calls_of_rows import arguments
from orchestrator.dataset.formats.turns import asked


class Routing(Format):
    """`user_content`, `agent_name` and `agent_arguments` (an object, or JSON of one)."""

    name = "routing"
    schema = "routing"
    columns = ("user_content", "agent_name", "agent_arguments")
    looks = (
        'A row is {"user_content": "...", "agent_name": "...", "agent_arguments": "{...}"}; '
        "the arguments are JSON of an object."
    )

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The answer is a call of the tool that is called like the agent."""
        given = arguments(fields.get("agent_arguments"), "agent_arguments")
        answer = Message("assistant", None, (Call(fields["agent_name"], given),))
        return asked((file, line), fields, context, fields["user_content"], answer)


FORMAT = Routing()
