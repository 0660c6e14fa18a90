"""The rows of a tuning file, as the service reads them: form, sizes, statistics."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_ROLES = frozenset({"system", "user", "assistant", "tool"})
#: The service names only a sample of the rows that it cut.
_TRUNCATED_SAMPLE = 10


class BadRow(Exception):
    """A row that is not a training example. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


@dataclass(frozen=True)
class Row:
    """What is counted of a row. `chars` include tool calls and declarations."""

    input_chars: int
    output_chars: int
    messages: int
    uses_tools: bool


def read_rows(lines: Iterable[bytes]) -> list[Row]:
    """All rows of a JSONL file of `messages` or `prompt`/`completion`. Raises `BadRow`."""
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadRow(number, f"not a JSON object: {error}") from None
        try:
            rows.append(_row(value))
        except ValueError as error:
            raise BadRow(number, str(error)) from None
    if not rows:
        raise BadRow(1, "the file has no rows")
    return rows


def _row(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 (a data error, for one handler)
    if "messages" in value:
        return _conversation(value)
    if "prompt" not in value or "completion" not in value:
        raise ValueError("has neither `messages` nor `prompt` and `completion`")
    prompt, completion = value["prompt"], value["completion"]
    if not isinstance(prompt, str) or not isinstance(completion, str) or not completion:
        raise ValueError("`prompt` and `completion` must be strings, and the completion not empty")
    return Row(len(prompt), len(completion), 2, uses_tools=False)


def _conversation(value: dict[str, Any]) -> Row:
    messages = value["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError("`messages` must be a list that is not empty")
    chars = {"input": _json_chars(value.get("tools")), "output": 0}
    answers = 0
    uses_tools = bool(value.get("tools"))
    for role, count, is_call in _messages(messages):
        chars["output" if role == "assistant" else "input"] += count
        answers += role == "assistant"
        uses_tools = uses_tools or is_call or role == "tool"
    if not answers:
        raise ValueError("`messages` has no message of the assistant")
    return Row(chars["input"], chars["output"], len(messages), uses_tools)


def _messages(messages: list[Any]) -> Iterator[tuple[str, int, bool]]:
    """Role, characters, and whether there are tool calls, for each message."""
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            raise ValueError(f"`messages[{index}].role` must be one of {', '.join(sorted(_ROLES))}")
        calls, content = message.get("tool_calls"), message.get("content")
        if not isinstance(content, str) and not (calls and content is None):
            raise ValueError(f"`messages[{index}].content` must be a string")
        yield role, len(content or "") + _json_chars(calls), bool(calls)


def _json_chars(value: Any) -> int:
    return len(orjson.dumps(value).decode()) if value else 0


def fill_statistics(
    stats: Any,
    rows: Sequence[Row],
    *,
    tokens_per_char: float,
    max_tokens: int,
    epochs: int,
) -> None:
    """Fill a SupervisedTuningDataStats message with what the rows hold.

    Tokens are estimated from characters; a row is billed up to `max_tokens`, once an epoch.
    """
    inputs = [math.ceil(row.input_chars * tokens_per_char) for row in rows]
    outputs = [math.ceil(row.output_chars * tokens_per_char) for row in rows]
    tokens = [a + b for a, b in zip(inputs, outputs, strict=True)]
    chars = sum(row.input_chars + row.output_chars for row in rows)
    too_long = [number for number, count in enumerate(tokens, 1) if count > max_tokens]
    stats.tuning_dataset_example_count = len(rows)
    stats.total_tuning_character_count = chars
    stats.total_billable_character_count = chars * epochs
    stats.total_billable_token_count = sum(min(count, max_tokens) for count in tokens) * epochs
    stats.total_truncated_example_count = len(too_long)
    for number in too_long[:_TRUNCATED_SAMPLE]:
        stats.truncated_example_indices.append(number)
        stats.dropped_example_reasons.append(
            f"about {tokens[number - 1]} tokens, more than {max_tokens}"
        )
    _distribution(stats.user_input_token_distribution, inputs)
    _distribution(stats.user_output_token_distribution, outputs)
    _distribution(stats.user_message_per_example_distribution, [row.messages for row in rows])


def _distribution(message: Any, values: Sequence[int]) -> None:
    steps = statistics.quantiles(values, n=20, method="inclusive") if len(values) > 1 else values
    message.sum = message.billable_sum = sum(values)
    message.min_, message.max_ = min(values), max(values)
    message.mean, message.median = statistics.fmean(values), statistics.median(values)
    message.p5, message.p95 = steps[0], steps[-1]
