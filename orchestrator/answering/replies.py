"""What an endpoint replied, read: the answer, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.answer_files import answer_text
from orchestrator.errors import Ambiguous
from orchestrator.visible_text import visible_line

END, LENGTH, TOOL_CALLS, CONTENT_FILTER = "end", "length", "tool_calls", "content_filter"
#: Why a question has no answer, beside the content filter.
NO_CHOICES, REFUSED, TOO_LONG, FAILED = "no_choices", "refused", "too_long", "failed"
#: `stopped_by` of answers that were cut: what endpoints say, and what `generate.py` writes.
CUT = frozenset({LENGTH, "max_new_tokens"})

_LONGEST_NAME, _LONGEST_REASON = 200, 40
_REASONS = {
    "stop": END,
    "eos": END,
    "length": LENGTH,
    "max_tokens": LENGTH,
    "tool_calls": TOOL_CALLS,
    "function_call": TOOL_CALLS,
    "content_filter": CONTENT_FILTER,
}


@dataclass(frozen=True)
class Reply:
    """An answer as it is kept. `predicted` is None where the question was not answered.

    `stopped_by` is `end`, `length` (it was cut), `tool_calls`, or another word of the server's;
    without an answer it is why: `content_filter`, `no_choices`, `too_long` or `refused`. Tokens are
    as the server counts them; `model` is who answered, as it says. None is unknown.
    """

    predicted: str | None
    raw: str | None
    stopped_by: str
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    latency_s: float | None = None
    model: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The reply as it is kept."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Reply:
        """Raises `TypeError` or `ValueError` for what is no reply."""
        reply = cls(**value)
        texts = (reply.predicted, reply.raw, reply.model)
        if not all(one is None or isinstance(one, str) for one in texts):
            raise TypeError("a text is no text")
        if not isinstance(reply.stopped_by, str):
            raise TypeError("`stopped_by` is no text")
        for count in (reply.prompt_tokens, reply.new_tokens):
            if count is not None and type(count) is not int:
                raise TypeError("a number of tokens is no number")
        return reply


def read_reply(value: Mapping[str, Any], latency_s: float) -> Reply:
    """The reply in the JSON of a success. Raises `Ambiguous` where it is none."""
    choices = value.get("choices")
    if not isinstance(choices, list):
        raise Ambiguous("the endpoint's answer holds no `choices`")
    model = value.get("model")
    usage = value.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}

    def reply(predicted: str | None, stopped_by: str) -> Reply:
        said = None if predicted is None else _sound(predicted)
        answered = said is not None and stopped_by != CONTENT_FILTER
        return Reply(
            predicted=said if answered else None,
            raw=said,
            stopped_by=stopped_by,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            new_tokens=_count(usage.get("completion_tokens")),
            latency_s=round(latency_s, 4),
            model=_shown(model, _LONGEST_NAME) if isinstance(model, str) and model else None,
        )

    if not choices:
        return reply(None, NO_CHOICES)
    choice = choices[0]
    if not isinstance(choice, Mapping):
        raise Ambiguous("the endpoint's answer holds a choice that is no object")
    reason = choice.get("finish_reason")
    reason = _shown(reason, _LONGEST_REASON) if isinstance(reason, str) and reason else "stop"
    stopped_by = _REASONS.get(reason, reason)
    if "message" in choice:
        return reply(_said(choice["message"], stopped_by), stopped_by)
    if isinstance(choice.get("text"), str):
        return reply(choice["text"], stopped_by)
    if stopped_by == CONTENT_FILTER:
        return reply(None, stopped_by)
    raise Ambiguous("the endpoint's answer holds neither a message nor a text")


def _said(message: Any, stopped_by: str) -> str:
    """A message as one text: its thinking as a model writes it, calls as the protocol's JSON.

    A thought that was cut has no end, as the model gave it none.
    """
    if not isinstance(message, Mapping):
        raise Ambiguous("the endpoint's answer holds a message that is no object")
    content = message.get("content")
    if isinstance(content, list):  # parts
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(text for text in texts if isinstance(text, str))
    if content is None:
        content = message.get("refusal") or ""
    if not isinstance(content, str):
        raise Ambiguous("the endpoint's answer holds a content that is no text")
    calls = message.get("tool_calls")
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thinking, str) and thinking.strip():
        # Servers take it out of the answer; `generate.py` and the rows have it in front.
        is_cut = stopped_by == LENGTH and not content and not calls
        end = "" if is_cut else f"\n</think>\n\n{content}"
        content = f"<think>\n{thinking.strip()}{end}"
    if calls is None and isinstance(message.get("function_call"), Mapping):
        calls = [{"type": "function", "function": message["function_call"]}]
    if calls is not None and not isinstance(calls, list):
        raise Ambiguous("the endpoint's answer holds `tool_calls` that are no list")
    turn = {"role": "assistant", "content": content, "tool_calls": calls or []}
    return answer_text([turn]) or ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _shown(text: str, most: int) -> str:
    """What a server calls something, as it can be shown and kept."""
    return visible_line(_sound(text))[:most]


def _sound(text: str) -> str:
    """The text without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def as_line(value: Mapping[str, Any]) -> str:
    """One line of JSON, readable where UTF-8 can hold it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text + "\n"
