"""Rows of a training: reading them, and encoding them with the loss on the completion only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where it is checked
    from orchestrator.training.sft_events import BadInput
else:
    from sft_events import BadInput

IGNORED = -100  # what the loss leaves out


@dataclass(frozen=True)
class Row:
    """One example. `prompt` and `completion` are both texts or both lists of chat messages."""

    place: str
    prompt: Any
    completion: Any
    tools: Any = None


@dataclass(frozen=True)
class Encoded:
    """Rows as the trainer takes them, and what became of them on the way."""

    examples: list[dict[str, list[int]]]
    row_count: int
    truncated_count: int
    dropped_count: int
    token_count: int
    trainable_token_count: int

    def to_json(self) -> dict[str, int]:
        """The counts, for the metrics."""
        return {
            "rows": self.row_count,
            "truncated": self.truncated_count,
            "dropped": self.dropped_count,
            "tokens": self.token_count,
            "trainable_tokens": self.trainable_token_count,
        }


def read_rows(file: Path) -> list[Row]:
    """All rows of a JSONL file; raises `BadInput` that names the line. Blank lines are skipped."""
    rows = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    rows.append(_row(line, f"{file}:{number}"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: is not UTF-8 text: {error.reason}") from error
    if not rows:
        raise BadInput(f"{file}: holds no rows")
    return rows


def _row(line: str, place: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{place}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{place}: is not a JSON object")
    tools = value.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError as error:
            raise BadInput(f"{place}: tools is not JSON: {error}") from error
    if "messages" in value:
        messages = value["messages"]
        if not _are_messages(messages) or messages[-1]["role"] not in ("assistant", "model"):
            raise BadInput(f"{place}: messages must be a list that ends with the assistant's turn")
        return Row(place, messages[:-1], messages[-1:], tools)
    prompt, completion = value.get("prompt"), value.get("completion")
    texts = isinstance(prompt, str) and isinstance(completion, str) and completion != ""
    if not texts and not (_are_messages(prompt) and _are_messages(completion)):
        raise BadInput(f"{place}: needs prompt and completion as texts, or messages")
    return Row(place, prompt, completion, tools)


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in value)
    )


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenize, cut to `max_length` tokens, and leave out rows of whose completion nothing is left.

    Done here rather than by the trainer, which cuts and drops rows without saying so.
    """
    if tokenizer.eos_token_id is None:
        raise BadInput("the tokenizer of the base model has no end-of-text token")
    examples, truncated, dropped = [], 0, 0
    for row in rows:
        ids, start = tokens_of(row, tokenizer)
        truncated += len(ids) > max_length
        if start >= min(len(ids), max_length):
            dropped += 1
            continue
        labels = [IGNORED] * start + ids[start:]
        examples.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    return Encoded(
        examples=examples,
        row_count=len(rows),
        truncated_count=truncated,
        dropped_count=dropped,
        token_count=sum(len(one["input_ids"]) for one in examples),
        trainable_token_count=sum(label != IGNORED for one in examples for label in one["labels"]),
    )


def tokens_of(row: Row, tokenizer: Any) -> tuple[list[int], int]:
    """Token ids of prompt and completion, and where the completion starts."""
    if isinstance(row.prompt, str):
        prompt: list[int] = tokenizer(row.prompt)["input_ids"]
        whole: list[int] = tokenizer(row.prompt + row.completion)["input_ids"]
        if not whole or whole[-1] != tokenizer.eos_token_id:
            whole = [*whole, tokenizer.eos_token_id]
    else:
        prompt = _chat_tokens(row, tokenizer, row.prompt, add_generation_prompt=True)
        whole = _chat_tokens(row, tokenizer, row.prompt + row.completion)
    # Tokens may merge across the boundary, so the completion starts where the two part.
    start = 0
    for one, other in zip(prompt, whole, strict=False):
        if one != other:
            break
        start += 1
    return whole, start


def _chat_tokens(row: Row, tokenizer: Any, messages: Any, **options: bool) -> list[int]:
    if not tokenizer.chat_template:
        raise BadInput(f"{row.place}: holds messages, but the base model has no chat template")
    try:
        text = tokenizer.apply_chat_template(messages, tools=row.tools, tokenize=False, **options)
    except Exception as error:  # templates raise whatever they like
        raise BadInput(f"{row.place}: the chat template refuses the messages: {error}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode_file(file: Path, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
    """`encode` for the rows of a file; raises `BadInput` if nothing of them can be learned."""
    encoded = encode(rows, tokenizer, max_length)
    if not encoded.examples:
        raise BadInput(
            f"{file}: no trainable token is left: the prompts alone fill --max-length {max_length}"
        )
    return encoded
