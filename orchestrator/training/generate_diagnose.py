"""Shows what a model is really asked and really says, for people who wonder about bad answers.

Two mistakes account for many: special tokens that a decoder strips although calls are made of them,
and prompts that are sent raw to a model that was trained through its chat template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.generate_model import (
        Stops,
        TransformersEngine,
        decode,
    )
    from orchestrator.training.generate_prompts import Prompt, render
    from orchestrator.training.sft_rows import Row
else:
    from generate_model import TransformersEngine, decode
    from generate_prompts import render


@dataclass(frozen=True)
class Asked:
    """A row as it is predicted: with its examples, and as the prompt made of it."""

    row: Row
    prompt: Prompt


def diagnose(
    asked: Sequence[Asked], model: Any, tokenizer: Any, stops: Stops, new_tokens: int
) -> Iterator[str]:
    """Lines to print: for each row the prompt, and what the model says to it in several ways."""
    stopping = TransformersEngine(model, tokenizer, stops, new_tokens)
    endless = TransformersEngine(model, tokenizer, type(stops)(None, frozenset(), ()), new_tokens)
    for one in asked:
        said = stopping.answer([one.prompt.ids])[0]
        plain = decode(tokenizer, said.ids, special=False)
        yield f"===== row {one.prompt.row} ({one.prompt.place})"
        chat = not isinstance(one.row.prompt, str)
        name = "through the chat template" if chat else "raw text, no template"
        yield from _part(f"prompt, {name}, {len(one.prompt.ids)} tokens", one.prompt.text)
        yield from _part("expected", one.prompt.expected)
        yield from _part(f"answer with special tokens, ended by {said.stopped_by}", said.raw)
        yield from _part("answer without special tokens", plain)
        yield from _part("answer as it is predicted", said.predicted)
        if said.predicted.strip() != plain.strip():
            yield "NOTE: stripping special tokens changes this answer."
        more = endless.answer([one.prompt.ids])[0]
        yield from _part(f"answer when no token stops it, {len(more.ids)} tokens", more.raw)
        other = _other_way(one.row, tokenizer)
        if other is None:
            yield "----- answer through the chat template: the base model has none"
            continue
        label = "without the chat template" if chat else "through the chat template"
        ids = tokenizer(other, add_special_tokens=chat)["input_ids"]
        yield from _part(f"prompt {label}", other)
        yield from _part(f"answer {label}", stopping.answer([ids])[0].raw)
    yield "===== end"


def _part(label: str, text: str) -> Iterator[str]:
    yield f"----- {label}"
    # Marked, so that no line of a model's can be taken for one of the script's.
    yield from (f"| {line}" for line in text.split("\n"))


def _other_way(row: Row, tokenizer: Any) -> str | None:
    """The same prompt, raw where it goes through the template and through it where it goes raw."""
    if not isinstance(row.prompt, str):
        texts = [turn.get("content") for turn in row.prompt]
        return "\n".join(text for text in texts if isinstance(text, str)) or "\n"
    if not tokenizer.chat_template:
        return None
    return render(
        row, [{"role": "user", "content": row.prompt}], tokenizer, add_generation_prompt=True
    )
