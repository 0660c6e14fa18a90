"""The marks by which models tell turns and calls apart, and where rows hold them as plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.json_texts import texts_in
from orchestrator.dataset.tokens.templates import ChatTemplate

#: What looks like a mark in the text that a template itself writes.
_MARK = re.compile(
    r"<\|[^<>|\s]+\|>|<\|[a-z_]+>|<[a-z_]+\|>|</?(?:start|end)_[a-z_]+>|</?tool_(?:call|response)>"
    r"|<escape>|<(?:bos|eos)>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
#: Marks of the commonest templates: in the rows of another model they are text, but rarely meant.
_KNOWN = (
    *("<start_of_turn>", "<end_of_turn>", "<start_function_call>", "<end_function_call>"),
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|python_tag|>", "<|turn>", "<turn|>", "[INST]", "[/INST]", "<|endoftext|>"),
    *("<tool_call>", "</tool_call>", "<|begin_of_text|>", "<escape>"),
)
#: Templates look for these in the text of an answer: there they are meant.
_MEANT = frozenset({"<think>", "</think>"})


class Marks:
    """The marks of a model, and of others."""

    def __init__(self, template: ChatTemplate | None, tokenizer: Path | None) -> None:
        own = set(_own_marks(template, tokenizer)) - _MEANT
        self._own = _one_of(own)
        self._other = _one_of(set(_KNOWN) - own)

    def own(self, text: str) -> str | None:
        """The first mark of the model's own in a text."""
        found = self._own.search(text) if self._own else None
        return found[0] if found else None

    def other(self, text: str) -> str | None:
        """The first mark of another model's template in a text."""
        found = self._other.search(text) if self._other else None
        return found[0] if found else None


def _one_of(marks: Iterable[str]) -> re.Pattern[str] | None:
    longest_first = sorted(marks, key=lambda mark: (-len(mark), mark))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _own_marks(template: ChatTemplate | None, tokenizer: Path | None) -> Iterator[str]:
    """What the template writes, and the special tokens of the tokenizer."""
    written = ""
    if template is not None:
        from orchestrator.dataset.tokens.jinja_rendering import literals

        texts = (template.text, template.tool_use or "")
        written = "\0".join(part for text in texts for part in literals(text))
        yield from _MARK.findall(written)
        yield from (text for _, text in template.special_tokens if text.strip())
    for content, special in _added_tokens(tokenizer):
        if content.strip() and (special or (_MARK.fullmatch(content) and content in written)):
            yield content


def _added_tokens(tokenizer: Path | None) -> Iterator[tuple[str, bool]]:
    """The tokens that were added to a vocabulary, as the small one of its two files lists them."""
    if tokenizer is None:
        return
    try:
        config = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = config["added_tokens_decoder"].values()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return  # what the template writes is known without it
    for token in added:
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            yield token["content"], bool(token.get("special"))


def texts_of(example: Example) -> Iterator[tuple[str, str]]:
    """All texts of a row with the turn that they stand in."""
    for part, name in ((example.prompt, "prompt"), (example.answer, "completion")):
        if isinstance(part, str):
            yield f"the {name}", part
            continue
        for message in part:
            yield from _texts_of_message(message)


def _texts_of_message(message: Message) -> Iterator[tuple[str, str]]:
    where = f"the {message.role}'s turn"
    if message.content:
        yield where, message.content
    if message.thinking:
        yield where, message.thinking
    for call in message.calls:
        yield from (
            (f"the call of {call.name!r}", text) for text in texts_in(call.arguments, names=True)
        )
