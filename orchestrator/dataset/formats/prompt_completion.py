"""Rows of two texts: what the model reads and what it must answer."""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.base import Format, FormatContext
from orchestrator.dataset.formats.prompt_template import prompt_template
from orchestrator.dataset.formats.turns import difficulty_of, tags_of, think_wrapped


class PromptCompletion(Format):
    """`prompt` and `completion`, as texts."""

    name = "prompt-completion"
    schema = "prompt-completion"
    columns = ("prompt", "completion")
    looks = 'A row is {"prompt": "...", "completion": "..."}.'
    mapped = ("template", "think")

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The two texts as they are, unless the spec has a template or thinking for them."""
        prompt, answer, mapping = fields["prompt"], fields["completion"], context.mapping
        if mapping.template is not None:
            prompt = prompt_template(mapping.template).fill(fields)
        if mapping.think is not None:
            answer = think_wrapped(answer, fields, mapping.think)
        tags = tags_of(fields) if "tags" in fields else ()
        return Example(
            file, line, prompt, answer, fields, context.tools, None, tags, difficulty_of(fields)
        )


FORMAT = PromptCompletion()
