"""What to do with rows of another form than the spec says: other formats here, and other people's.

Only for rows that were refused: what is read is never guessed.
"""

from __future__ import annotations

from typing import Any

from orchestrator.dataset.checks.schemas import shipped_schema
from orchestrator.dataset.formats.registry import FORMATS

#: Fields by which rows of other people's forms are known, and what to do with them.
_FOREIGN = {
    "conversations": "This is ShareGPT's form: write `messages` with `role` (user for human, "
    "assistant for gpt) and `content` in place of `from` and `value`, and use the format chat.",
    "contents": "This is Gemini's form: write `messages` with `role` (assistant for model) and "
    "`content` in place of `parts`, and use the format chat.",
    "preferred_output": "This is a row of preferences, and what is trained here is one answer.",
    "chosen": "This is a row of preferences: name its columns, "
    "`mapping: columns: {prompt: prompt, completion: chosen}`, to train on what was chosen.",
    "input_text": "Name the columns: `mapping: columns: {prompt: input_text, completion: "
    "output_text}` under `data:`.",
}


def advice(form: str, fields: dict[str, Any]) -> str | None:
    """What to do with a row that the format of this name refused; None if nothing is known."""
    for other in FORMATS:
        if other != form and shipped_schema(other).accepts(fields):
            return f"The row fits the format {other}: write `format: {other}` under `data:`."
    known = next((words for field, words in _FOREIGN.items() if field in fields), None)
    if known is not None:
        return known
    if isinstance(fields.get("prompt"), list):
        return "A prompt of messages is a chat: join it with the answer in one list of `messages`."
    return None
