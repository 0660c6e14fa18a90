"""Rows of a mathematical question with a worked solution, a final answer, or both.

MathX names its columns problem (or question), generated_solution and expected_answer. Benchmarks
hold a chat request under `body.messages` and the `answer` apart.
"""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.formats.base import Format, FormatContext, RowError
from orchestrator.dataset.formats.chat import messages_of
from orchestrator.dataset.formats.turns import asked, chat, with_openings

_QUESTIONS = ("question", "problem")
_SOLUTIONS = ("solution", "generated_solution")
_ANSWERS = ("answer", "expected_answer")


class Math(Format):
    """A question; a worked solution, or else the final answer, is what the model must say."""

    name = "math"
    schema = "math"
    columns = (*_QUESTIONS, *_SOLUTIONS, *_ANSWERS, "body")
    looks = (
        'A row is {"question": "...", "solution": "...", "answer": "..."}, or '
        '{"body": {"messages": [...]}, "answer": "..."}.'
    )

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The final answer is the reference; the solution the answer, where there is one."""
        reference = _text(fields, _ANSWERS)
        solution = _text(fields, _SOLUTIONS)
        question = _text(fields, _QUESTIONS)
        answer = Message("assistant", solution if solution is not None else reference)
        if question is not None:
            return asked((file, line), fields, context, question, answer, reference=reference)
        if context.mapping.template is not None:
            message = "the row holds a chat, which data.mapping.template cannot change"
            raise RowError("template-unused", message, "Leave the template out.")
        messages = messages_of(fields["body"]["messages"], "body.messages")
        if messages[-1].role != "assistant":
            messages = (*messages, answer)
        messages = with_openings(messages, context.mapping)
        return chat((file, line), fields, context, messages, reference=reference)


def _text(fields: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of these fields that holds something; numbers as people would write them."""
    for name in names:
        value = fields.get(name)
        if value is not None:
            return value if isinstance(value, str) else orjson.dumps(value).decode()
    return None


FORMAT = Math()
