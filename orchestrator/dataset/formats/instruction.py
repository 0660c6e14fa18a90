"""Rows of an instruction and its output, such as OpenCoder's opc-sft-stage2 holds them.

There, `code` is the program in the output, `entry_point` the function that `testcase` (a list of
assertions) calls: they stay in the example's fields, for an evaluation that runs them.
"""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.formats.base import Format, FormatContext
from orchestrator.dataset.formats.turns import asked


class Instruction(Format):
    """`instruction` and `output`; `input` follows the instruction where there is one."""

    name = "instruction"
    schema = "instruction"
    columns = ("instruction", "input", "output", "code", "entry_point", "testcase")
    looks = 'A row is {"instruction": "...", "output": "..."}.'

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The instruction is what the user says, the output what the assistant answers."""
        question = fields["instruction"]
        if fields.get("input"):
            question = f"{question}\n\n{fields['input']}"
        answer = Message("assistant", fields["output"])
        return asked((file, line), fields, context, question, answer)


FORMAT = Instruction()
